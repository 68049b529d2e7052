"""What a stranger is told on each port: encrypted or nothing, and by this instance and no other."""

from __future__ import annotations

from howdah.core.endpoint import certificate_names
from howdah.phrase import say
from howdah.verify.look import Context
from howdah.verify.report import Finding, check, failed, passed
from howdah.verify.stranger import OTHER_GROUP

_MODERN = ("TLSv1.2", "TLSv1.3")


@check("plaintext-refused", "both", say("a login without TLS is refused"), "critical")
def plaintext_refused(context: Context) -> Finding:
    answer = context.told.plaintext
    if answer.demands_tls:
        return passed(say("asked in plaintext, it answered: {words}", words=answer.message))
    evidence = say("asked in plaintext, it went on with the login ({kind} {code})", kind=answer.kind, code=answer.code)
    fix = context.repair if context.want.tls else say("run `howdah params set {name} ssl=on`", name=context.want.name)
    return failed(evidence, fix)


@check("tls-spoken", "both", say("TLS is spoken"), "critical", tls=True)
def tls_spoken(context: Context) -> Finding:
    served = context.told.served
    if served.error:
        return failed(say("no handshake: {reason}", reason=served.error), context.repair)
    return passed(say("{version} with {cipher}", version=served.version, cipher=served.cipher))


@check("tls-versions", "both", say("TLS is 1.2 or newer"), "high", tls=True)
def tls_versions(context: Context) -> Finding:
    told = context.told
    taken = [version for version, accepted in told.old.items() if accepted]
    silent = [version for version, accepted in told.old.items() if accepted is None]
    if taken:
        return failed(say("{versions} is accepted", versions=", ".join(taken)), context.repair)
    if silent or told.served.version not in _MODERN:
        reason = told.served.error or say("no answer to {versions}", versions=", ".join(silent))
        return failed(say("cannot tell: {reason}", reason=reason), context.repair)
    refused = ", ".join(told.old)
    return passed(say("{version} was agreed on; {refused} are refused", version=told.served.version, refused=refused))


@check("tls-ciphers", "both", say("ciphers are authenticated, with forward secrecy"), "medium", tls=True)
def tls_ciphers(context: Context) -> Finding:
    told = context.told
    if told.served.error:
        return failed(say("cannot tell: {reason}", reason=told.served.error), context.repair)
    if told.weak.silent:
        return failed(say("cannot tell: {reason}", reason=told.weak.error), context.repair)
    agreed = [shake.cipher for shake in (told.served, told.tls12) if not shake.error]
    weak = [cipher for cipher in agreed if not _strong(cipher)] or ([] if told.weak.error else [told.weak.cipher])
    if weak:
        return failed(say("{cipher} is accepted", cipher=", ".join(weak)), context.repair)
    evidence = say("{ciphers}; CBC and static RSA are refused: {words}", ciphers=", ".join(agreed), words=told.weak.error)
    return passed(evidence)


def _strong(cipher: str) -> bool:
    """Tell whether a suite is AEAD with ephemeral keys; every suite of TLS 1.3 is.

    >>> _strong("ECDHE-ECDSA-AES128-GCM-SHA256"), _strong("TLS_AES_256_GCM_SHA384")
    (True, True)
    >>> _strong("ECDHE-RSA-AES128-SHA256"), _strong("AES128-GCM-SHA256")
    (False, False)
    """
    return cipher.startswith("TLS_") or (cipher.startswith("ECDHE-") and ("GCM" in cipher or "CHACHA20" in cipher))


@check("chain-verified", "both", say("the certificate was issued by our authority"), "critical", tls=True)
def chain_verified(context: Context) -> Finding:
    chain, file = context.told.chain, context.seen.layout.ca_file
    if chain.error:
        return failed(say("not with {file}: {reason}", file=file, reason=chain.error), context.repair)
    return passed(say("certificate {serial} holds with {file}", serial=chain.serial, file=file))


@check("name-verified", "both", say("the certificate bears every name that is given out"), "critical", tls=True)
def name_verified(context: Context) -> Finding:
    told = context.told
    wrong = [f"{name} ({shake.error})" for name, shake in told.names.items() if shake.error]
    if wrong:
        return failed(say("not for {names}", names=", ".join(wrong)), context.repair)
    borne = told.served.certificate.names if told.served.certificate else frozenset()
    missing = sorted(certificate_names(context.want, context.hop, context.seen.facts) - borne)
    if missing:
        return failed(say("it lacks {names}", names=", ".join(missing)), context.repair)
    return passed(say("verified as {names}; it bears {borne}", names=", ".join(told.names), borne=", ".join(sorted(borne))))


@check("foreign-authority-refused", "both", say("a client that trusts another authority refuses it"), "high", tls=True)
def foreign_authority_refused(context: Context) -> Finding:
    told = context.told
    if told.served.error or told.foreign.silent:
        return failed(say("cannot tell: {reason}", reason=told.served.error or told.foreign.error), context.repair)
    if not told.foreign.error:
        return failed(say("the certificate holds with an authority that is not ours"), context.repair)
    return passed(say("with a foreign authority the client says: {reason}", reason=told.foreign.error))


@check("tls-groups", "both", say("keys are exchanged in strong groups alone"), "low", tls=True)
def tls_groups(context: Context) -> Finding:
    told = context.told
    if told.served.error or told.group.silent:
        return failed(say("cannot tell: {reason}", reason=told.served.error or told.group.error), context.repair)
    if not told.group.error:
        return failed(say("{group} is accepted", group=OTHER_GROUP), context.repair)
    return passed(say("{group} is refused: {reason}", group=OTHER_GROUP, reason=told.group.error))


@check("direct-tls", "both", say("TLS begun at once is the same TLS, or none"), "low", tls=True)
def direct_tls(context: Context) -> Finding:
    told = context.told
    spoken = [shake for shake in (told.direct, told.bare) if not shake.error]
    if not spoken:
        return passed(say("it is not spoken: {reason}", reason=told.direct.error))
    other = [shake.serial for shake in spoken if shake.fingerprint != told.served.fingerprint]
    if other:
        return failed(say("another certificate is served: {serial}", serial=", ".join(other)), context.repair)
    said = ", ".join(shake.alpn or "-" for shake in spoken)
    return passed(say("{version}, the same certificate, ALPN {alpn}", version=spoken[0].version, alpn=said))


@check("gss-no-way-round", "both", say("asking for GSS encryption is no way round TLS"), "medium", tls=True)
def gss_no_way_round(context: Context) -> Finding:
    answer = context.told.gss
    if answer is not None:
        said = say("asked for it, then in plaintext, it answered: {words}", words=answer.message or answer.kind)
        return passed(said) if answer.demands_tls or answer.kind == "closed" else failed(said, context.repair)
    lax = [
        f"{rule.line}: {rule.kind} {rule.method}" for rule in context.look.rules if rule.kind == "hostgssenc" and rule.method != "reject"
    ]
    if lax:
        return failed(say("it is taken up, and line {lines} of pg_hba.conf admits by it", lines="; ".join(lax)), context.repair)
    return passed(say("it is taken up, and no line of pg_hba.conf admits by it"))


@check("injection-dropped", "both", say("bytes sent before TLS are dropped (CVE-2021-23214, CVE-2021-3935)"), "high", tls=True)
def injection_dropped(context: Context) -> Finding:
    answer = context.told.injected
    said = say("a startup message sent with the request for TLS: {kind} {words}", kind=answer.kind, words=answer.message)
    # an error may be the answer to the injected message itself; only this one says that it was thrown away
    if answer.kind == "closed" or (answer.kind == "error" and "unencrypted data" in answer.message):
        return passed(said)
    update = say("update PostgreSQL and PgBouncer, then run `howdah restart {name}`", name=context.want.name)
    # silence is what a server does that waits for a real startup message: the injected one was dropped
    return passed(said) if answer.kind == "silent" else failed(said, update)
