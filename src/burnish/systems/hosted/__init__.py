"""Hosted models as systems: any endpoint that speaks OpenAI's chat completions."""
