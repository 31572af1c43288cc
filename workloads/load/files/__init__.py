"""Files of prompts, traces and lengths: read and checked by line, known by what they hold."""
