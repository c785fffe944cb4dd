"""The pages: one shared layout on Gradio for both workflows. Nothing in the engine imports from here."""
