"""Docstrings as hover texts."""

from mmadapt.recipe.docs import options, summary


class Base:
    """A base.

    Attributes:
        kept: Of the base.
        both: Of the base.
    """


class Own(Base):
    """Options that
    go on.

    And on.

    Args:
        both (`int`, *optional*): Of its own: two
            lines.
        plain: Only this.

    Raises:
        Error: no option.
    """


class Theirs:
    """
    Keys of transformers.

    Parameters:
        > Duration

        steps (`int`, *optional*, defaults to `-1`):
            How long. Common:
              - "many"
        rate(`float`):
            How fast.
    """


def test_options_of_a_class_and_its_bases():
    assert options(Own) == {
        "kept": "Of the base.",
        "both": "Of its own: two lines.",
        "plain": "Only this.",
    }


def test_transformers_form():
    assert options(Theirs) == {"steps": 'How long. Common: - "many"', "rate": "How fast."}


def test_the_summary_is_the_first_paragraph():
    assert summary(Own) == "Options that go on."
    assert summary(type("Bare", (), {})) == ""
