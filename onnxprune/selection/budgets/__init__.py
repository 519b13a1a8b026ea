"""What can be limited, one file each."""
