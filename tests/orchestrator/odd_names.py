"""Names of folders in which addresses that are pasted together go wrong."""

ODD_NAMES = (
    "with space",
    "runs #3",
    "what? now",
    "My%20Drive",
    "100%",
    "%(here)s",
    "{SCHEMA_VERSION}{x}",
    "a'b\"c;d&e=f",
    "größe 文字 😀",
    "line\nbreak\tand\x01",
    "price $5 $",
    "[a]*",
    "a:b@c",
    "back\\slash",
    "x" * 200,
    "-x ",
)
