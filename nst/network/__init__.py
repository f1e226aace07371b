"""The network: its architecture, its weights, verified, and the features at its taps."""
