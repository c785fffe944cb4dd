"""From scenes to batches: captions, latents, light maps."""
