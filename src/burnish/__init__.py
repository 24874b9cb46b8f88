"""Burnish: fine-tune language models with evidence."""
