"""How the models are made: light stage, sources, loss, loop, evaluation. Nothing in the engine imports this.

    python -m training.scenes.photographs          fetch what is trained on and may be
    python -m training.autoencoder          pixels <-> latents
    python -m training.scenes.render               scenes on the light stage -> shards
    python -m training.train                the relighting model itself
    python -m training.evaluation.evaluate             how good it is, on what it never saw

`docs/training.md` tells the whole way.
"""
