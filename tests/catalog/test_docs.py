"""The pages' examples run as they stand and print what the pages say."""

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-model.md"


def test_the_examples_of_adding_a_model_print_what_the_page_says() -> None:
    page = PAGE.read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})  # the project's own page
    assert printed.getvalue() == "".join(re.findall(r"```text\n(.*?)```", page, flags=re.DOTALL))
