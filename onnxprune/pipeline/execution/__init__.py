"""From a plan to what is written: cut and verify, recover, retrain, quantize, evaluate, accept, write."""
