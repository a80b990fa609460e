flags: dict[str, str]
built_levels: tuple[str, ...]

def supports(level: str) -> bool: ...
