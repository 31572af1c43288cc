"""Files of prompts, traces and lengths: read, checked line by line, and known by what they hold."""
