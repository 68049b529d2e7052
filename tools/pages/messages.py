"""The pages of what servers and drivers say, in both languages, from the table of messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pages.markdown import code, page, table

# What no edge says and only this page needs, in both languages
_MESSAGES_PAGE: Mapping[str, tuple[str, str, tuple[str, ...], str, Mapping[str, str]]] = {
    "en": (
        "What the servers say",
        "What PostgreSQL, PgBouncer, its keeper and drivers say, why, and what to do; `howdah explain TEXT` looks it up. Each message was "
        "given by real servers and drivers, and is again whenever the tests run. `…` stands for what changes; *in* names the versions that "
        "say it in these words, where others do not. "
        "`NAME` is the instance. [По-русски](server-messages-ru.md). What Howdah itself says are its own [errors](errors.md).",
        ("message", "why", "what to do"),
        "in",
        {
            "client": "What a client is told",
            "driver": "What drivers say in their own words",
            "start": "Why a server does not start, or does not load its files",
            "log": "What stands in the logs",
        },
    ),
    "ru": (
        "Что говорят серверы",
        "Что говорят PostgreSQL, PgBouncer, его сторож и драйверы, почему и что делать; ищет в этой таблице `howdah explain ТЕКСТ`. Каждое "
        "сообщение получено от настоящих серверов и драйверов, и тесты получают его снова. "
        "`…` — то, что меняется; *в* — версии, которые говорят именно так, если другие говорят иначе. `NAME` — "
        "инстанс. [In English](server-messages.md). То, что говорит сам Howdah, — его собственные [ошибки](errors.md).",
        ("сообщение", "почему", "что делать"),
        "в",
        {
            "client": "Что говорят клиенту",
            "driver": "Что драйверы говорят от себя",
            "start": "Почему сервер не запускается или не перечитывает файлы",
            "log": "Что стоит в журналах",
        },
    ),
}


def server_messages(language: str = "en") -> str:
    """What PostgreSQL, PgBouncer and drivers say, why, and what to do, in one language."""
    from howdah.catalog.messages import BY_PLACE
    from howdah.language import translation

    speak = translation(language)
    title, introduction, heads, seen, places = _MESSAGES_PAGE[language]
    parts: list[Iterable[str] | str] = [introduction]
    for place, messages in BY_PLACE.items():
        parts.append(f"## {places[place]}")
        for origin in dict.fromkeys(message.origin for message in messages):
            rows = [
                (
                    code(message.words) + (f" ({seen} {', '.join(message.versions)})" if message.versions else ""),
                    message.cause.translated(speak),
                    message.cure.translated(speak),
                )
                for message in messages
                if message.origin == origin
            ]
            parts += [f"### {_SPEAKERS[language].get(origin, origin)}", table(heads, rows)]
    return page(title, *parts)


_SPEAKERS: Mapping[str, Mapping[str, str]] = {"en": {"keeper": "PgBouncer's keeper"}, "ru": {"keeper": "Сторож PgBouncer"}}
