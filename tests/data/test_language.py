from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.data.language import guess_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How can I change the address that is on my account?", "English"),
        ("Do I have to do that to my card myself?", "English"),
        ("Wie kann ich die Adresse von meinem Konto ändern?", "German"),
        ("Comment est-ce que je peux changer mon adresse sur le compte?", "French"),
        ("¿Cómo puedo cambiar mi dirección en la cuenta? No está en el menú.", "Spanish"),
        ("Come posso cambiare il mio indirizzo? Non è nel menu della app.", "Italian"),
        ("Como posso mudar o meu endereço na conta? Não está no menu.", "Portuguese"),
        ("Hoe kan ik het adres van mijn rekening veranderen?", "Dutch"),
        ("Hur kan jag ändra min adress? Det är inte möjligt på sidan.", "Swedish"),
        ("Hvordan kan jeg ændre min adresse? Det er ikke muligt på siden.", "Danish"),
        ("Jak mogę zmienić mój adres? Czy to jest na stronie, bo nie ma go w menu?", "Polish"),
        ("Adresimi nasıl değiştirebilirim? Bu çok zor ve bir yardım için ne gerekli?", "Turkish"),
        ("как изменить адрес", "Cyrillic script"),
        ("住所を変更したい", "Japanese"),
        ("我想更改地址", "Chinese"),
        ("주소를 바꾸고 싶어요", "Korean"),
        ("πώς αλλάζω διεύθυνση", "Greek"),
        ("كيف أغير العنوان", "Arabic script"),
    ],
)
def test_usual_sentences_are_named(text, language):
    assert guess_language(text) == language


@pytest.mark.parametrize(
    "text", ["", "42", "Bypass Cereb Vent to Atrium w Synth Sub, Open", "card_arrival", "OK thanks", "5 μm"]
)
def test_what_cannot_be_told_is_not_named(text):
    assert guess_language(text) is None


@given(st.text(max_size=300))
def test_any_text_is_survived(text):
    assert guess_language(text) is None or isinstance(guess_language(text), str)
