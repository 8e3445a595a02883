#!/usr/bin/env python3
"""Reports files over 400 lines and functions over 40 (80 in tests) in Swift and Python sources.

A function's length is that of its body, from the line of its opening brace to that of its closing one.
Strings and comments are blanked out first, so that braces in them do not count.
"""
import ast
import os
import re
import sys

FILE_LINES = 400
FUNCTION_LINES = 40
# A test tells one story from beginning to end; cutting it up hides what it claims.
TEST_LINES = 80

TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|#+"""(?:.*?)"""#+|#"(?:[^"\n])*"#|"""(?:\\.|.)*?"""|"(?:\\\((?:[^()"]|\([^()]*\)|"[^"\n]*")*\)|\\.|[^"\\\n])*"',
    re.S,
)


def blank(source):
    return TOKEN.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), source)


def swift_functions(source):
    """Yields (line, name, length) of each function with a body."""
    text = blank(source)
    for match in re.finditer(r"\bfunc\s+([^\s(<]+)|\b(init)[?!]?\s*[<(]|\b(deinit)\s*\{", text):
        name = next(group for group in match.groups() if group)
        if text[max(0, match.start() - 1)] == ".":
            continue
        start = body_start(text, match.start())
        if start is None:
            continue
        end = matching_brace(text, start)
        line = text.count("\n", 0, match.start()) + 1
        yield line, name, text.count("\n", start, end) - 1


def body_start(text, position):
    """The brace that opens the body; None for a requirement without one."""
    depth = 0
    for index in range(position, len(text)):
        character = text[index]
        if character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
            if depth < 0:
                return None
        elif character == "{" and depth == 0:
            return index
        elif character == "}" and depth == 0:
            return None
        elif character == "\n" and depth == 0:
            following = text[index:].lstrip()
            if re.match(r"(?:@\w+|public|package|private|static|func|var|let|init|case|///)\b", following):
                return None
    return None


def matching_brace(text, start):
    depth = 0
    for index in range(start, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    return len(text)


def python_functions(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.name, node.end_lineno - node.lineno


def main(roots):
    found = []
    for root in roots:
        for directory, _, names in os.walk(root):
            for name in sorted(names):
                if not name.endswith((".swift", ".py")):
                    continue
                path = os.path.join(directory, name)
                with open(path, encoding="utf-8") as file:
                    source = file.read()
                lines = source.count("\n")
                if lines > FILE_LINES:
                    found.append(f"{path}: {lines} lines; at most {FILE_LINES}")
                functions = swift_functions if name.endswith(".swift") else python_functions
                for line, function, length in functions(source):
                    limit = TEST_LINES if root == "Tests" else FUNCTION_LINES
                    if length > limit:
                        found.append(
                            f"{path}:{line}: {function}: {length} lines; at most {limit}")
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["Sources", "Tests"]))
