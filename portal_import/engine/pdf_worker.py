"""Reads the text of PDFs, in a process of its own: a PDF that crashes or stalls the library takes nothing else down.

Run as a script, with no code of the project and none of its environment. It is asked on its standard input, one PDF
after the other: a line of JSON (`size`, `max_pages`, `max_characters`), then so many bytes. It answers each with a
line of JSON on its standard output: `text`, or `error`.
"""

import json
import resource
import sys
from contextlib import closing

import pypdfium2

MAX_MEMORY_BYTES = 768 * 1024 * 1024
CPU_SECONDS_PER_PDF = 10


def main() -> None:
    """Answer until nobody asks any more."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it has nothing to write
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while line := requests.readline():
        request = json.loads(line)
        _allow_more_time()
        answer = _answer(requests.read(request["size"]), request["max_pages"], request["max_characters"])
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _allow_more_time() -> None:
    """Should whoever asks be gone, a PDF that never ends must not keep this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + CPU_SECONDS_PER_PDF, hard))


def _answer(content: bytes, max_pages: int, max_characters: int) -> dict[str, str]:
    try:
        return {"text": _read_text(content, max_pages, max_characters)}
    except pypdfium2.PdfiumError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "it needs too much memory"}


def _read_text(content: bytes, max_pages: int, max_characters: int) -> str:
    texts: list[str] = []
    left = max_characters
    with closing(pypdfium2.PdfDocument(content)) as document:
        for number in range(min(len(document), max_pages)):
            with closing(document[number]) as page, closing(page.get_textpage()) as text:
                texts.append(text.get_text_range(count=min(left, text.count_chars())))
            left -= len(texts[-1])
            if left <= 0:
                break
    return "\n".join(texts)


if __name__ == "__main__":
    main()
