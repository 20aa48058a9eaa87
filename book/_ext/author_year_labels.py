"""Label the bibliography by author and year, as the text cites it.

pybtex's own labels look like ``[CvMerrienboerG+14]``; a reader who meets "Cho et al. (2014)" in a chapter looks for
"Cho et al. 2014".
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from pybtex.database import Entry, Person
from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style as UnsrtStyle
from pybtex.style.labels import BaseLabelStyle
from sphinx.application import Sphinx


def _surname(person: Person) -> str:
    name = " ".join([*person.prelast_names, *person.last_names])
    for brace in "{}":
        name = name.replace(brace, "")
    return name


def author_year(entry: Entry) -> str:
    """Return "Author 1997", "Author & Author 1997" or "Author et al. 1997"."""
    surnames = [_surname(person) for person in entry.persons.get("author", entry.persons.get("editor", []))]
    if not surnames:
        raise ValueError(f"{entry.key} in references.bib has neither an author nor an editor")
    if len(surnames) == 1:
        authors = surnames[0]
    elif len(surnames) == 2:
        authors = " & ".join(surnames)
    else:
        authors = f"{surnames[0]} et al."
    return f"{authors} {entry.fields['year']}"


class AuthorYearLabels(BaseLabelStyle):
    """Author-year labels; a, b, c ... tell two works of the same year apart."""

    def format_labels(self, sorted_entries: Iterable[Entry]) -> Iterator[str]:
        """Yield one label per entry, in order."""
        labels = [author_year(entry) for entry in sorted_entries]
        total, used = Counter(labels), Counter[str]()
        for label in labels:
            yield label + ("abcdefghijklmnopqrstuvwxyz"[used[label]] if total[label] > 1 else "")
            used[label] += 1


class AuthorYearStyle(UnsrtStyle):
    """pybtex's plain entries, sorted by author and year, with author-year labels."""

    default_sorting_style = "author_year_title"
    default_label_style = "author_year"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register both styles with pybtex under the name ``author_year``."""
    register_plugin("pybtex.style.labels", "author_year", AuthorYearLabels)
    register_plugin("pybtex.style.formatting", "author_year", AuthorYearStyle)
    return {"version": "1.0", "parallel_read_safe": True, "parallel_write_safe": True}
