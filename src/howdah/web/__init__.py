"""The console: what people do with instances, in a browser. Pages and forms over the verbs of `service`; no decision is made here.

One function and one context dataclass for each page. Everything works with scripts switched off; with them, pages follow by themselves.
No request leaves the machine: what a page needs is in `static/`.
"""
