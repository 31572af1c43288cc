"""What the pages share: style, tables, packed columns, and a policy that lets nothing else run."""
