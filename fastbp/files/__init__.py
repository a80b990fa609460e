"""Files of networks and of runs: arrays and JSON, written whole or not at all."""
