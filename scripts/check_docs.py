#!/usr/bin/env python3
"""Checks the documents: every relative link leads to a file, every format page has its sections."""
import os
import re
import sys

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
FORMAT_WORDS = ("little endian", "version", "checksum")


def documents(root="."):
    for directory, folders, names in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith(".")]
        for name in names:
            if name.endswith(".md"):
                yield os.path.normpath(os.path.join(directory, name))


def problems(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for target in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.S)):
        if "://" in target or target.startswith("mailto:"):
            continue
        if not os.path.exists(os.path.join(os.path.dirname(path), target)):
            yield f"{path}: link to '{target}', which does not exist"
    if os.path.dirname(path) == os.path.join("docs", "formats") and "README" not in path:
        for word in FORMAT_WORDS:
            if word not in " ".join(text.lower().replace("-", " ").split()):
                yield f"{path}: says nothing of '{word}'"


def main():
    found = [problem for path in sorted(documents()) for problem in problems(path)]
    for problem in found:
        print(problem)
    print(f"docs: {len(list(documents()))} pages, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
