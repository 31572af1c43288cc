"""Files of prompts, traces and lengths: checked line by line, known by what they hold."""
