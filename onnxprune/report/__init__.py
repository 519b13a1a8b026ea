"""What people read: the same blocks of tables and lines, shown in a terminal or as an HTML page."""
