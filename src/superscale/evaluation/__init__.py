"""How good is it? Any upscale callable x pairs -> tables and reports."""
