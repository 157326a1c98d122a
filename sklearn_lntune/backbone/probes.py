"""Texts in many scripts, with everything that tokenizers are known to treat differently.

Their tokens are part of a tokenizer's identity. Never change the texts: saved classifiers
contain digests of their tokens.
"""

# ruff: noqa: RUF001

LONG = " ".join(["one two three"] * 24)
TEXTS = (
    "",
    " ",
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "THE QUICK Brown fOX jUMPS; McDonald's iPhone, NASA & e-mail",
    "don't can't I'm we'll they've it's o'clock rock'n'roll",
    "good bad happy sad sun rain fast slow new old red blue one two three unheard-of",
    "supercalifragilisticexpialidocious antidisestablishmentarianism unbelievably untokenizable",
    "x" * 300,
    LONG,
    "0 7 42 1234567890 3.14159 1,000,000 -5 +7 1e-10 0x1F 10% 2026-01-31 12:30 $5 €7 £8 #9",
    "?!.,;: !!??... (a) [b] {c} <d> \"e\" 'f' `g` a-b_c/d\\e|f ~ ^ * = + & @",
    "«h» “i” ‘j’ … — – • · © ™ ° ± × → ≠ ∞",
    "@user #tag RT https://example.org/a?b=c&d=e name@example.org www.example.org :-) ;) :D <3 xD",
    "def f(x): return x ** 2  # a comment\n\tif x != y: print('z')",
    '<p class="a">b &amp; c</p> {"key": [1, null]} $\\alpha_1^2$',
    "tab\there, line\nbreak, return\r\nand\x0b\x0c more",
    "  two  spaces   before    and after  ",
    "no\xa0break\u2003em\u3000wide\u200bzero\xadsoft\u2060join\ufeffmark",
    "\x00\x07\x1b\x7f\x85 control � \ue000 private",
    "naïve café Zürich Ångström façade Ñandú Straße ẞ æ œ ł ø",
    "nai\u0308ve cafe\u0301 A\u030a n\u0303 ấ a\u0302\u0301 c\u0327",
    "ﬁne ½ ℌ ① ⁵ ＨＥＬＬＯ １２３ （） ſ Ω Å ᴸ",
    "İstanbul ışık ğağı I i",
    "Zażółć gęślą jaźń, příliš žluťoučký kůň",
    "Tiếng Việt có dấu, đường phố người",
    "Это хороший текст, Ёлка и йод; їжак Ґава",
    "Καλημέρα κόσμε, ΟΔΟΣ ἀρχή",
    "שלום עולם, ש\u05b8\u05c1לו\u05b9ם",
    "مرحبا بالعالم، م\u064eر\u0652ح\u064eب\u064bا سلام ۱۲۳ ١٢٣ ــ",
    "नमस\u094dत\u0947 द\u0941न\u093fय\u093e, ক\u09c7মন আছ\u09c7ন, வணக\u0bcdகம\u0bcd",
    "สว\u0e31สด\u0e35ชาวโลก ນຍ မ\u103cန\u103aမ\u102c",
    "你好，世界。繁體中文 good好good 𠀀",
    "こんにちは世界、カタカナ ｶﾞ か\u3099 がー",
    "안녕하세요 세계 한글",
    "გამარჯობა բարև ሰላም",
    "😀 👍🏽 👨\u200d👩\u200d👧 ❤\ufe0f 🇩🇪 ☂ 1\ufe0f\u20e3 𝕏",
    "[CLS] [SEP] [PAD] [UNK] [MASK] x[SEP]y [MASK]. [mask] [ MASK ]",
    "<s> </s> <pad> <unk> <mask> x</s>y <mask>. a <mask> <bos> <eos> <sep> <cls>",
    "<|endoftext|> <|im_start|> <|startoftext|> <|pad|> <extra_id_0> <0x0A> ▁a ##b Ġc d</w>",
)
PAIRS = (
    ("", ""),
    ("good", ""),
    ("", "good"),
    ("A man plays the guitar.", "Somebody makes music!"),
    (LONG, "short"),
    ("short", LONG),
    ("first " * 50, "last " * 60),
    ("你好 [SEP] Über", "</s> <mask> 😀"),
)
