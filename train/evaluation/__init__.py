"""What an evaluation is made of: what is asked, drawn, measured and compared (train/evaluate.py puts it together)."""
