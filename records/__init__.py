"""Records: what is stored and handed on, typed, without torch."""
