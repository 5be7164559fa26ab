"""MkDocs hooks: pages and files from outside of docs/, and no page that loads from elsewhere.

A link is written once, as it works in a checkout. On the site docs/ is the root, pages of
`PAGES` come from the root, and other linked files lie at their own paths.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {  # in a checkout -> on the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"(\]\()([^)#\s]+)")  # of Markdown, without its anchor
EXTERNAL = re.compile(
    r"""<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)=["']?(?:https?:)?//[^"'> ]*"""
)

log = logging.getLogger("mkdocs.hooks")


def _path(link: str, page: str) -> str:
    """Where a link of `page` leads, both from the root of the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def _source(page: str) -> str:
    """The file of a page of the site, from the root of the repository."""
    return next((file for file, name in PAGES.items() if name == page), f"docs/{page}")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and every file outside of docs/ that a page links to."""
    for source, name in PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text()))
    texts = {_source(file.src_uri): file.content_string for file in files.documentation_pages()}
    for page, text in texts.items():
        for _, link in LINK.findall(text):
            path = _path(link, page)
            outside = path not in PAGES and not path.startswith("docs/")
            if outside and (ROOT / path).is_file() and not files.get_file_from_path(path):
                file = File.generated(config, path, abs_src_path=str(ROOT / path))
                files.append(file)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of the checkout become those of the site."""
    source = _source(page.file.src_uri)

    def site(match: re.Match[str]) -> str:
        if "://" in match[2] or match[2].startswith("mailto:"):
            return match[0]
        path = _path(match[2], source)
        return match[1] + PAGES.get(path, path.removeprefix("docs/"))

    return LINK.sub(site, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Warn, which fails a strict build, of whatever a browser would fetch from elsewhere."""
    for found in EXTERNAL.findall(output):
        log.warning("%s: fetched from elsewhere: %s", page.file.src_uri, found)
    return output
