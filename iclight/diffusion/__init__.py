"""The torch parts of one pass: devices, checkpoints, VAE, UNet, sampler."""
