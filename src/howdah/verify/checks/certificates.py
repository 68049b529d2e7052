"""The certificates as they are served and as they lie on disk: fit for others to trust, valid, the newest, and beside their keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from howdah.certificate import LONGEST_DAYS, Certificate, read_pem
from howdah.core.observed import Pair
from howdah.core.rotation import stands
from howdah.phrase import Phrase, say
from howdah.verify.look import Context
from howdah.verify.report import Finding, check, failed, passed, skipped, warned

_DAY = 86400
_SMALLEST_RSA = 2048
_CURVES = ("prime256v1", "secp384r1")
_HASHES = ("SHA256", "SHA384", "SHA512", "sha256", "sha384", "sha512")


@check("certificate-dates", "both", say("the certificate served is valid today, and for a while"), "high", tls=True)
def certificate_dates(context: Context) -> Finding:
    served = _served(context)
    if served is None:
        return failed(_NONE, context.repair)
    left, life = served.not_after - context.look.now, served.not_after - served.not_before
    days, whole = int(left // _DAY), int(life // _DAY)
    if context.look.now < served.not_before:
        return failed(
            say("it is not valid yet: is the clock right?"), say("set the clock, then run `howdah repair {name}`", name=context.want.name)
        )
    if left < 0:
        return failed(say("it expired {days} days ago", days=-days), context.repair)
    evidence = say("{days} days left of {whole}", days=days, whole=whole)
    return warned(evidence, context.repair) if left < life / 3 else passed(evidence)


@check("certificate-newest", "both", say("the certificate served is the newest on disk"), "high", tls=True)
def certificate_newest(context: Context) -> Finding:
    served, pairs = context.told.served, context.seen.disk.pairs.get(context.hop, ())
    newest = next((pair for pair in pairs if pair.trusted), None)
    if newest is None or newest.serial != served.serial:
        found = newest.serial if newest is not None else say("nothing")
        return failed(say("{served} is served, on disk is {found}", served=served.serial or "-", found=found), context.repair)
    return passed(say("serial {serial}", serial=newest.serial))


@check("certificate-fit", "both", say("the certificate is one that strict clients accept"), "medium", tls=True)
def certificate_fit(context: Context) -> Finding:
    served = _served(context)
    if served is None:
        return failed(_NONE, context.repair)
    faults = [str(fault) for fault in _faults(served)]
    if faults:
        return failed(say("{faults}", faults="; ".join(faults)), context.repair)
    found = {"key": served.key, "signature": served.signature, "days": served.days}
    return passed(say("{key}, {signature}, for servers alone, {days} days", **found))


def _faults(served: Certificate) -> Iterator[Phrase]:
    kind, _, bits = served.key.partition(" ")
    if served.key not in _CURVES and not (kind == "RSA" and int(bits) >= _SMALLEST_RSA):
        yield say("its key is {key}", key=served.key)
    if not any(word in served.signature for word in _HASHES):
        yield say("it is signed by {signature}", signature=served.signature)
    if served.authority:
        yield say("it may sign others (CA:TRUE)")
    if not served.server:
        yield say("it is not for servers (serverAuth)")
    if not served.names:
        yield say("it bears no name (subjectAltName)")
    if served.days > LONGEST_DAYS:
        yield say("it lives {days} days, more than {most}", days=served.days, most=LONGEST_DAYS)


@check("key-matches", "both", say("the key on disk belongs to the certificate: the next start will not fail"), "critical", tls=True)
def key_matches(context: Context) -> Finding:
    if context.hop == "direct":
        named = context.server.settings.get("ssl_key_file", "")
    else:
        named = context.pooler.config.get("client_tls_key_file", "")
    whole = {pair.serial for pair in context.seen.disk.pairs.get(context.hop, ())}
    serial = Path(named).stem.partition(".")[2]
    if serial not in whole:
        return failed(say("{file} is missing, altered or open to others", file=named or "-"), context.repair)
    return passed(say("{file} and its certificate are as they were issued", file=named))


@check("authority-dates", "instance", say("the authority that clients trust is valid, and for a while"), "high", tls=True)
def authority_dates(context: Context) -> Finding:
    file, now = context.seen.layout.ca_file, context.look.now
    try:
        authority = read_pem(file.read_text())
    except ValueError:
        return failed(say("{file} is no certificate", file=file), context.repair)
    days = int((authority.not_after - now) // _DAY)
    fix = say("howdah ca rotate makes a successor; then every client needs the new file")
    if not authority.not_before <= now <= authority.not_after:
        return failed(say("{file} is not valid today: is the clock right?", file=file), fix)
    evidence = say("{file} is good for {days} days", file=file, days=days)
    return warned(evidence, fix) if days < LONGEST_DAYS else passed(evidence)


@check(
    "authority-change",
    "instance",
    say("a change of the authority leaves no client without a certificate that it believes"),
    "high",
    tls=True,
)
def authority_change(context: Context) -> Finding:
    bundle, pairs = context.seen.disk.authority, context.seen.disk.pairs
    if bundle is None:
        return skipped(say("there is no authority that makes sense"))
    told = stands(bundle)
    late = [hop for hop in context.look.endpoints if not _by_issuer(pairs.get(hop, ()), context.look.told(hop).served.serial)]
    if bundle.cut_off or (late and bundle.phase != "settled"):  # else certificate-newest speaks of it
        return failed(say("{told}; by another than it: {hops}", told=told, hops=", ".join(late) or "-"), context.repair)
    return passed(told) if bundle.phase == "settled" else warned(told, say("howdah ca show tells the next turn"))


def _by_issuer(pairs: Sequence[Pair], serial: str) -> bool:
    return any(pair.current and pair.serial == serial for pair in pairs)


_NONE = say("no certificate is served")


def _served(context: Context) -> Certificate | None:
    return context.told.served.certificate
