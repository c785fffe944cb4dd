"""How the models are made: light stage, sources, loss, loop, evaluation. Nothing in the engine imports this.

    python -m iclight.training.photographs          fetch what is trained on and may be
    python -m iclight.training.autoencoder          pixels <-> latents
    python -m iclight.training.render               scenes on the light stage -> shards
    python -m iclight.training.train                the relighting model itself
    python -m iclight.training.evaluate             how good it is, on what it never saw

`docs/training.md` tells the whole way.
"""
