"""The wordings by which portals say why they let nobody in: English, German, French and Spanish."""

import re


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


REFUSED = _words(
    r"(password|e-?mail|user ?name|credentials|log-?in|details|combination)\b[^.!?]{0,60}"
    r"\b(incorrect|wrong|invalid|not (correct|valid|recogni[sz]ed|found|match)|(do|does)(n't| not) match|failed)",
    r"\b(incorrect|wrong|invalid|unknown|bad) (\w+ ){0,4}"
    r"(password|e-?mail|user ?name|user|credentials|log-?in|sign-?in|account)",
    r"(log-?in|sign-?in|authentication) (has )?failed",
    r"\bno (\w+ )?(account|user|customer)\b[^.!?]{0,40}\b(found|exists|registered|with|for)\b",
    r"(can ?not|can't|couldn't|could not|unable to) find (your|an?|this|that|the) (\w+ )?(account|user|e-?mail)",
    r"kein (konto|benutzer|kunde)\b[^.!?]{0,40}\b(gefunden|vorhanden)",
    r"(passwort|kennwort|benutzername|anmeldedaten|zugangsdaten|e-mail)\b[^.!?]{0,60}"
    r"\b(falsch|ung(ü|ue)ltig|nicht korrekt|stimm)",
    r"anmeldung (ist )?fehlgeschlagen|(falsche[sr]?|ung(ü|ue)ltige[sr]?) (passwort|kennwort|benutzername|anmeldedaten)",
    r"(mot de passe|identifiants?)\b[^.!?]{0,60}\b(incorrects?|invalides?|erron|pas correct)",
    r"(contraseña|usuario|credenciales)\b[^.!?]{0,60}\b(incorrect|inválid|no (es|son) (correct|válid))",
)
# Kept apart from warnings such as "after 3 attempts your account will be locked".
LOCKED = _words(
    r"(account|access|profile|user)( \S+){0,3} (is|has been|was)( now| currently| temporarily)? "
    r"(locked|blocked|suspended|disabled|deactivated|frozen)",
    r"(locked|blocked) (your|this|the) (account|access)|account (locked|blocked|suspended)",
    r"too many (\w+ ){0,3}(attempts|log-?ins|sign-?ins|tries)",
    r"(konto|zugang|benutzer)\b[^.!?]{0,40}\b(wurde|ist)\b[^.!?]{0,30}\b(gesperrt|deaktiviert)",
    r"zu viele (\w+ )?(versuche|anmelde)",
    r"compte\b[^.!?]{0,30}\b(a été|est) (temporairement )?(bloqué|verrouillé|suspendu|désactivé)|trop de tentatives",
    r"cuenta\b[^.!?]{0,30}\b(ha sido|está) (temporalmente )?(bloquead|suspendid|desactivad)|demasiados intentos",
)
MULTI_FACTOR = _words(
    r"(enter|type|provide)\b[^.!?]{0,40}\b(\d.digit|verification|security|one.time|authentication) ?(pass)?code",
    r"(two|2|multi).?(factor|step).{0,3}(authentication|verification|sign-?in)|one.time (pass)?(code|word)",
    r"(sent|send)\b[^.!?]{0,40}\b(verification|security|one.time) (pass)?code|authenticator app",
    r"(sent|send|e-?mailed)\b[^.!?]{0,60}\b(sign.?in|log.?in|magic|one.time) link|anmelde-?link",
    r"best(ä|ae)tigungscode|sicherheitscode|einmalcode|zwei.?faktor|code de vérification|código de verificación",
)
CAPTCHA = _words(r"\bcaptcha\b|i'?m not a robot|not a robot|verify (that )?you are (a )?human|ich bin kein roboter")
EXPIRED_PASSWORD = _words(
    r"password\b[^.!?]{0,20}\b(has |is )?expired",
    r"(must|need to|have to|please) (change|renew|reset|update) your password",
    r"(passwort|kennwort)\b[^.!?]{0,20}\b(ist )?abgelaufen|(passwort|kennwort) (muss|müssen)[^.!?]{0,20}ge(ä|ae)ndert",
    r"mot de passe\b[^.!?]{0,20}\bexpiré|contraseña\b[^.!?]{0,20}\b(caducado|expirado)",
)
NEW_TERMS = _words(
    r"(accept|agree to|confirm)\b[^.!?]{0,40}\b(terms|conditions|privacy policy|user agreement)",
    r"(nutzungsbedingungen|agb|gesch(ä|ae)ftsbedingungen)\b[^.!?]{0,30}\b(akzeptier|zustimm|best(ä|ae)tig)",
    r"accepter\b[^.!?]{0,30}\bconditions|aceptar\b[^.!?]{0,30}\b(términos|condiciones)",
)
UNAVAILABLE = _words(
    r"(temporarily|currently|momentarily) (unavailable|not available)|maintenance",
    r"(technical|internal|server|system) error",
    r"try again (later|in a few)|something went wrong",
    r"wartungsarbeiten|technische[rs]? (fehler|störung)|erreur technique",
)
STALE_FORM = _words(
    r"(session|form|page|token|link)\b[^.!?]{0,20}\b(has |is )?(expired|timed out|out of date|no longer valid)",
    r"csrf|(enable|activate|allow) cookies|cookies (are|must be) |invalid (request )?token",
    r"sitzung\b[^.!?]{0,20}\babgelaufen",
)
