"""Every page of the console, by its address: the one list. A page is one function that returns one context; a form is one that sends on."""

from __future__ import annotations

from howdah.web import urls
from howdah.web.pages import (
    account,
    acts,
    audit,
    authority,
    catalogue,
    connect,
    creation,
    databases,
    extensions,
    instances,
    logs,
    monitoring,
    once,
    operations,
    overview,
    parameters,
    security,
    signing,
    users,
)
from howdah.web.visit import Page

_I = "/instances/{name}"

ROUTES: tuple[Page, ...] = (
    Page(urls.SIGN_IN, signing.form, signing.sign_in, need=None, verb="sign in"),
    Page(urls.SIGN_OUT, post=signing.sign_out, change="reader", verb="sign out"),
    Page(urls.HOME, instances.listing),
    Page(urls.CREATE, creation.form, creation.create, verb="create"),
    Page(f"{urls.CREATE}/check", post=creation.check, verb="create"),
    Page(_I, overview.overview),
    Page(f"{_I}/parameters", parameters.parameters, parameters.change, verb="params set"),
    Page(f"{_I}/parameters/catalog", catalogue.search),
    Page(f"{_I}/parameters/check", post=parameters.check, verb="params set"),
    Page(f"{_I}/extensions", extensions.extensions),
    Page(f"{_I}/extensions/{{extension}}", extensions.settings, extensions.change, verb="extensions set"),
    Page(f"{_I}/extensions/{{extension}}/check", post=extensions.check, verb="extensions set"),
    Page(f"{_I}/databases", databases.databases, databases.change, verb="databases"),
    Page(f"{_I}/users", users.users, users.change, verb="users"),
    Page(f"{_I}/connect", connect.connect),
    Page(f"{_I}/security", security.security, security.change, verb="verify"),
    Page(f"{_I}/monitoring", monitoring.monitoring),
    Page(f"{_I}/monitoring/samples.json", monitoring.samples),
    Page(f"{_I}/operations", operations.operations),
    Page(f"{_I}/operations/{{number}}", operations.operation),
    Page(f"{_I}/logs", logs.logs),
    Page(f"{_I}/{{verb:str}}", acts.form, acts.act, verb="act"),
    Page("/once/{number}", once.once),
    Page(urls.ACCOUNT, account.account, account.change, change="reader", verb="account"),
    Page("/language/{language}", account.language, need=None),
    Page(urls.AUDIT, audit.audit),
    Page(urls.AUTHORITY, authority.authority),
)
