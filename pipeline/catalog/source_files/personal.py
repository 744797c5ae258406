"""Tells by its name and type whether a column looks personal: a guess, for a person to judge."""

import functools
import itertools
import re
import unicodedata

# What a mask would best do: a hash still joins and counts; of some things even that is more than is needed.
HASH, EXCLUDE = "hash", "exclude"

# Words of a column's name, English and German first; each is looked for as a whole word or words.
_IDENTIFYING = """
first_name given_name middle_name last_name family_name maiden_name full_name display_name surname forename
firstname givenname middlename lastname familyname maidenname fullname displayname preferred_name contact_name
vorname nachname familienname zuname geburtsname rufname prenom apellido cognome
email e_mail mail email_address mail_address user_name mailadresse emailadresse email_adresse courriel correo
phone telephone mobile cellphone cell_phone phone_number fax telefon tel telefonnummer handy handynummer mobil
mobilnummer mobiltelefon rufnummer telefono
street address street_address postal_address home_address postcode postal_code zip zip_code zipcode
strasse anschrift adresse wohnort plz postleitzahl hausnummer direccion
iban bic swift bank_account account_number account_no kontonummer konto_nr bankverbindung kontoinhaber
credit_card card_number kreditkarte kreditkartennummer
national_id national_number identity_number personal_number personal_id ssn social_security
social_security_number
nino insurance_number passport passport_number passport_no tax_id tax_number taxpayer_id driving_licence
driver_license steuer_id steuernummer steueridentifikationsnummer sozialversicherungsnummer svnr sv_nummer
versicherungsnummer rentenversicherungsnummer krankenversicherungsnummer ausweis ausweisnummer
personalausweis personalausweisnummer reisepass reisepassnummer passnummer fuehrerschein dni nif
emergency_contact next_of_kin notfallkontakt ip_address
"""
_TELLING = """
salary wage wages gross_pay net_pay gehalt lohn besoldung bezuege bruttogehalt nettogehalt bruttolohn
nettolohn monatsgehalt jahresgehalt stundenlohn entgelt salaire
note notes comment comments remark remarks free_text freetext memo notiz notizen bemerkung bemerkungen
anmerkung anmerkungen kommentar kommentare freitext
gender sex religion confession denomination ethnicity nationality marital_status disability health diagnosis
illness geschlecht konfession staatsangehoerigkeit nationalitaet familienstand behinderung schwerbehinderung
krankheit diagnose gesundheit
photo photograph portrait signature fingerprint foto lichtbild passbild unterschrift
password password_hash passwd pwd passwort kennwort passphrase api_key secret token
"""
_BIRTH = """
born born_on birth birthday birth_date birthdate date_of_birth dob birth_year year_of_birth birthplace
birth_place place_of_birth geburtsdatum geburtstag geburtsort geburtsjahr geboren geboren_am
naissance nacimiento
"""
# Tables in which a plain "name" is a person's, and an amount somebody's pay.
_PEOPLE = """
person people employee staff student pupil applicant candidate customer client user contact member patient
teacher lecturer professor agent alumnus alumni guardian parent mother father child children
personal personen mitarbeiter mitarbeiterin mitarbeiterinnen angestellter angestellte beschaeftigter
beschaeftigte studierender studierende studentin studentinnen schueler schuelerin schuelerinnen bewerber
bewerberin bewerberinnen kunde kunden kundin kundinnen benutzer kontakt kontakte mitglied mitglieder dozent
dozenten dozentin lehrer lehrerin professorin eltern kind kinder
"""
_PAY = "salary salaries wage wages payroll payslip gehalt gehaelter lohn loehne besoldung entgelt"
_TIMES = re.compile(r"date|time|interval")
_NEVER = ("boolean", "uuid")


def suggested_mask(table: str, column: str, type_name: str) -> str | None:
    """Return the mask that a column probably needs, or None if it does not look personal."""
    if type_name.removesuffix("[]") in _NEVER:
        return None
    words = _words(column)
    if _contains(words, _BIRTH):
        return EXCLUDE
    # When an e-mail was sent, and which kind of address this is, is not personal.
    if _TIMES.match(type_name) or (words[-1:] == ["id"] and not _ends(words, _IDENTIFYING)):
        return None
    if _contains(words, _IDENTIFYING) or _is_a_persons_name(words, _words(table)):
        return HASH
    pay = words in (["amount"], ["betrag"]) and _contains(_words(table), _PAY)
    return EXCLUDE if pay or _contains(words, _TELLING) else None


def _words(name: str) -> list[str]:
    """Return the words of a name in lowercase: `birthDate`, `BIRTH_DATE` and `birth date` are the same.

    >>> _words("homeAddress2"), _words("Straße"), _words("GEBURTS_DATUM"), _words("IBANNumber")
    (['home', 'address'], ['strasse'], ['geburts', 'datum'], ['iban', 'number'])
    """
    spelt = re.sub(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    for letter, written in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss")):
        spelt = spelt.replace(letter, written)
    plain = unicodedata.normalize("NFKD", spelt).encode("ascii", "ignore").decode()
    return [word for word in re.split(r"[^a-z]+", plain) if word]


def _phrases(known: str) -> list[list[str]]:
    return [phrase.split("_") for phrase in known.split()]


@functools.cache
def _spellings(phrases: str) -> frozenset[str]:
    """Return each phrase as one word, also with its words in the plural."""
    return frozenset(
        "".join(spelt)
        for phrase in _phrases(phrases)
        for spelt in itertools.product(*((word, f"{word}s") for word in phrase))
    )


def _contains(words: list[str], phrases: str) -> bool:
    """Whether one of the phrases is in the name, whichever of its words are written as one.

    PostgreSQL itself makes dateofbirth of a DateOfBirth without quotation marks.
    """
    known = _spellings(phrases)
    return any(
        "".join(words[start:end]) in known
        for start in range(len(words))
        for end in range(start + 1, len(words) + 1)
    )


def _is_a_persons_name(words: list[str], table: list[str]) -> bool:
    """Whether it is a plain name in a table of people, or the name of such a person: student_name."""
    return words[-1:] in (["name"], ["nom"]) and _contains(words[:-1] or table, _PEOPLE)


def _ends(words: list[str], known: str) -> bool:
    return any(words[-len(phrase) :] == phrase for phrase in _phrases(known))
