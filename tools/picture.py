"""Draws a command's real output on a terminal as a picture: `picture.py FILE.svg COMMAND [ARGUMENT]…`.

The command runs in a pseudo-terminal, so that it is drawn with its colours; what it showed only for a moment (progress) is left out.
"""

from __future__ import annotations

import io
import os
import pty
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 130


def main(target: str, *command: str) -> int:
    """Run the command and write the picture; return the command's exit code."""
    taken = bytearray()

    def keep(descriptor: int) -> bytes:
        read = os.read(descriptor, 65536)
        taken.extend(read)
        return read

    os.environ.update(TERM="xterm-256color", COLUMNS=str(WIDTH))
    code = os.waitstatus_to_exitcode(pty.spawn(list(command), keep))
    text = taken.decode(errors="replace").replace("\r\n", "\n")
    kept = re.sub(r"[^\n]*\r(?:\x1b\[K)?|\x1b\[\?25[hl]", "", text)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(f"$ ./howdah {' '.join(command[1:])}", style="bold"))
    console.print(Text.from_ansi(kept))
    picture = re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", "", console.export_svg(title="howdah"), flags=re.S)  # fetches nothing
    Path(target).write_text(picture, encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
