"""Stable Diffusion 1.5's networks in plain torch: UNet, autoencoder, CLIP's text encoder and tokenizer.

Nothing but torch and tokenizers is imported. Tensors are called what diffusers and transformers call them, and computed
in the same order, so weights go either way and numbers agree (`tests/networks`).
"""
