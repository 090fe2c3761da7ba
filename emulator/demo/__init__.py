"""The main job: the whole loop on real text, from one command."""
