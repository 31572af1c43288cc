"""What pages share: style, tables, packed columns, a policy that lets nothing else run."""
