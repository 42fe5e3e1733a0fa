"""Why an answer ended, in the words of whichever provider it is."""

from typing import Any, Final

COMPLETE: Final = ("stop", "end_turn")
ERROR: Final = "error"


def ending(event: dict[str, Any]) -> str | None:
    """What an event of a stream says of it, None if nothing: a provider's own word, or `error`."""
    if event.get("error"):
        return ERROR
    choices = event.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(choice, dict):
        return _word(choice.get("finish_reason"))
    delta = event.get("delta")
    return _word(delta.get("stop_reason")) if isinstance(delta, dict) else None


def complete(why: str | None) -> bool:
    """Whether the model said all it had to say."""
    return why in COMPLETE


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None
