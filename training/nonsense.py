"""Requests without sense: random words in the forms in which people ask, wish and tell.

A small model would take every word that it has not met for an alert's; here it meets very many, of
which no language has every fourth. Everything is chosen by hashes.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType

from training.examples import Split
from training.hashed import choice, number

_COUNT: Mapping[Split, int] = MappingProxyType({Split.TRAIN: 1200, Split.VALID: 120})
_VALID_SHARE = 6
"""One word in so many is met in validation only."""

_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "noun": """
        actor almond anchor angle animal ankle antelope apple apron arch arrow artist atlas attic
        aunt autumn avenue baker balloon bamboo banana band barn barrel basket bath battle beach
        bean beard bedroom beetle bell bench berry bishop blanket blossom boat bone book boot
        bottle bowl bracelet branch bread breakfast brick bride brother bucket bull butcher butter
        button cabin camel camera candle canoe canvas captain carpet carrot castle cathedral cave
        ceiling cello chair chapel cheese cherry chicken chimney choir circus clay cliff cloak
        cloud clown coat coconut coin collar comb concert cork corner cotton cousin cow cradle
        crayon crow crown cucumber curtain cushion dance daughter desert desk dessert diamond
        doctor donkey door dragon drawer dream dress drum duck eagle elbow elephant engine envelope
        evening eyebrow fairy falcon farmer father feather fiddle field finger flag flame flower
        flute forest fork fountain fox frog fur garden garlic ghost giant ginger glacier glove goat
        goose grandfather grape grass guitar hammer harbour harp hat hawk hedge hero hill holiday
        honey horse hotel husband ink iron island ivory jacket jam jar jewel juggler jungle kettle
        king kitchen kite knee knight lace ladder lake lamp lantern leaf lemon letter lettuce
        library lily lion lobster lunch magician map market meadow medal melon mirror moon monkey
        mother mountain mouse museum mushroom mustard neck needle neighbour nest newspaper night
        nose nun nurse oak ocean onion opera orange orchard oven owl oyster painter palace parade
        parrot pastry peach peacock peanut pear pebble pencil pepper piano picnic pig pigeon
        pillow pilot pine pirate plate plum pocket poet pond pony potato prince prison pumpkin
        puppet queen rabbit radish rain raven ribbon rice ring river road rocket roof rope rose
        rug sailor salad salmon sandal sandwich scarf school scissors sculptor shadow shark sheep
        shell shepherd ship shirt shoulder singer sister skirt sky snail snow soap soldier song
        soup spider spoon spring squirrel stable star statue stone storm story strawberry street
        suitcase summer sun swan sweater sword tail tailor teacher teapot tent theatre thumb tiger
        tomato tongue tooth tower toy tractor treasure tree trumpet tulip turkey turtle twin uncle
        valley vase village violin voice wagon waiter walnut wedding whale wheat whistle wife
        window winter witch wolf wood worm yacht zebra""",
        "verb": """
        admire adore answer arrange avoid bake bend bite blame borrow bounce braid breathe brush
        build bury button buy carry carve celebrate chase chew choose clap climb collect colour
        comb comfort compare cook copy count cover cry cut dance dare decorate defend deliver dig
        dive divide doubt draw dream dress drink drop dry dust eat embrace enjoy envy escape
        explore fear feed fetch fill find fish float fold follow forget forgive fry gather
        greet grow guess hang hate hear hide hug hum hunt imitate invent invite iron joke juggle
        jump kick kiss knit laugh lend lift like listen lose love marry measure melt mend miss mix
        move nod obey offer paint pay peel photograph plant play point polish praise pray pretend
        pull push race recognise remember rent repeat rescue rhyme ride roast row rub sail save
        scratch sculpt sell sew shake share shave shout sing sit skate sketch ski sleep smell smile
        sneeze spell spill steal stir swallow sweep swim taste teach tease tempt throw tickle trade
        translate travel trust understand visit wake walk wander want warm wash watch water wave
        wear weigh welcome whisper whistle win wonder wrap write yawn""",
        "adjective": """
        absent ancient angry awful bald beautiful bent bitter blind blue bold brave bright broad
        brown calm charming cheap clever clumsy cosy crooked cruel curious damp dark dear deep
        delicious dirty dry dusty eager early elegant empty enormous famous fancy fat fierce fine
        flat foreign fragile fresh friendly funny furry gentle glad golden grateful green grey
        handsome happy heavy hollow honest hungry innocent jealous jolly juicy kind lazy light
        lonely loud lovely lucky mad merry modest muddy narrow nasty neat nervous noble odd pale
        patient perfect plain pleasant polite poor pretty proud purple quiet rare rich ripe rough
        round royal rude sad salty scared secret selfish serious shallow sharp shiny short shy
        silent silly silver sincere sleepy slim smooth soft sour spicy square strange strict
        stubborn sweet tall tasty tender thick thin thirsty tiny ugly useful vain warm weak wet
        wicked wide wild wise wonderful wooden yellow young""",
        "name": """
        Ada Amira Anton Athens Bella Boris Cairo Carla Diego Dublin Edith Emil Fatima Florence
        Friday Geneva Grace Hamburg Hugo Ines Ivan Jakob Jupiter Kira Lagos Leo Lima Lisbon Luisa
        March Maya Milan Monday Mumbai Nadia Nina Noah October Olga Oslo Otto Paula Prague Quito
        Rosa Sofia Sunday Theo Vera Vienna Warsaw Yusuf Zurich""",
    }
)
_ONSETS = "b bl c cr d dr f fl g gr h j k kl l m n p pr qu r s sk st t tr v w z"
_RIMES = "a ab ack an ar e el em ent er i ick in ist o ob on ool or u ump un urt"

_SENTENCES = """
    The {adjective} {noun} {verbs} the {noun2}
    My {noun} {verbs} every {noun2}
    A {noun} {verbs} two {adjective} {noun2s}
    Nobody {verbs} the {adjective} {noun}
    The {noun} in the {noun2} is {adjective}
    Your {noun} and my {noun2} are {adjective}
    There is no {noun} for the {adjective} {noun2}
    This {noun} never {verbs} that {noun2}
    {count} {nouns} do not {verb} one {noun2}
    Our {noun} will {verb} before {name} does
    {name} has a {adjective} {noun}
    It is too {adjective} to {verb} without {nouns}
    Some {nouns} are {adjective} and some {verb}
    Half of the {nouns} {verb} at the {noun2}
    {name} cannot {verb} the {noun}
    We have had {adjective} {nouns} since {name}
    {nouns}
    {adjective} {noun}
"""
_REQUESTS: Mapping[Split, str] = MappingProxyType(
    {
        Split.TRAIN: """
        Can you {verb} my {noun}?
        Could you {verb} {name} for me?
        Would you rather {verb} or {verb2}?
        Will you {verb} this {noun}?
        Which {noun} {verbs} best?
        Which of the {nouns} is {adjective}?
        What makes a {noun} so {adjective}?
        What would {name} do with a {adjective} {noun}?
        What is {noun} plus {noun2}?
        What is {count} minus {count2}?
        What is a {noun} made of?
        How does one {verb} a {adjective} {noun}?
        How should I {verb} the {noun}?
        How {adjective} is the {noun} of {name}?
        How many {nouns} fit into a {noun2}?
        How often do {nouns} {verb}?
        Where did {name} put the {noun}?
        Where do {nouns} {verb}?
        Why does the {noun} {verb}?
        Why are {nouns} {adjective}?
        Who {verbs} {count} {nouns} a day?
        Who is {name}?
        When may I {verb} the {noun} of {name}?
        When did {name} {verb}?
        Whose {noun} is {adjective}?
        Is the {noun} in {name} {adjective} enough?
        Are {nouns} {adjective} or {adjective2}?
        Does {name} {verb} {nouns}?
        Was {name} ever {adjective}?
        Shall we {verb} in the {noun}?
        Should I {verb} {nouns}?
        Have you ever seen a {noun} {verb}?
        Has {name} a {noun}?
        Find me {count} {adjective} {nouns}.
        Tell {name} to {verb} the {noun}.
        Tell a {adjective} story of a {noun}.
        List all {nouns} that {verb}.
        Name a {noun}.
        Please {verb} {count} {nouns} for {name}.
        Let the {noun} {verb}.
        Say {adjective} {noun} backwards.
        Make the {noun} less {adjective}.
        Do not {verb} the {noun} of my {noun2}.
        Do you {verb}?
        Do {nouns} {verb}?
        Show me a {noun} with {count} {noun2s}.
        Teach me to {verb}.
        Help me {verb} a {noun}.
        Buy {count} {nouns}.
        Bring the {noun} to {name}.
        Draw a {adjective} {noun}.
        Sing of the {noun}.
        Begin a story with the word {noun}.
        Explain the {noun} to {name}.
        Rhyme with {noun}.
        Imagine a {noun} that {verbs}.
        I would like to {verb} {count} {nouns}.
        I need a {adjective} {noun} until {name}.
        I am a {adjective} {noun}.
        I think of {nouns}.
        We want our {noun} to {verb}.
        You are {adjective}.
        {noun}, {noun2} or {noun3}?
        Any {adjective} {nouns}?
        {name} and {noun}, what fits together?
        {noun}!
        {name}?
        {verb} and {verb2}.
        {verb} the {noun}!
        {count} and {count2}?
        Hey, {verb} the {noun}!
        Good {noun}, {adjective} {noun2}.
        Thanks for the {adjective} {noun}.
        Yes, {nouns} {verb}.
        No, not the {noun}.
        """,
        Split.VALID: """
        May {name} {verb} the {noun}?
        Could a {noun} be {adjective}?
        What colour has a {noun}?
        How would {name} {verb}?
        Which {adjective} {noun} did {name} {verb}?
        Must {nouns} {verb}?
        Give {name} the {noun}.
        Think of a {adjective} {noun}.
        Count the {nouns} in {name}.
        My favourite {noun} is {adjective}.
        Where is the {adjective} {noun}?
        {adjective} or {adjective2}?
        """,
    }
)
_QUESTIONS: Mapping[Split, tuple[str, ...]] = MappingProxyType(
    {
        Split.TRAIN: (
            "Is it true that {lower}?",
            "{text}, is that so?",
            "I read that {lower}.",
            "What does it mean that {lower}?",
            "Write a tale in which {lower}.",
            "{text}, and then?",
            "Once upon a time {lower}.",
            "Translate into Italian: {lower}.",
        ),
        Split.VALID: ("Did you know that {lower}?", "Say it in other words: {lower}."),
    }
)
"""Ways to ask about a sentence instead of telling it."""


def senseless_sentences(split: Split) -> Iterator[tuple[str, str]]:
    """Gives sentences that tell of nothing real, each with what to ask about it, or ""."""
    for at in range(_COUNT.get(split, 0) // 2):
        key = f"{split}/{at}"
        yield (
            _filled(choice(_lines(_SENTENCES), key), key, split),
            choice(_QUESTIONS[split], key) if at % 2 else "",
        )


def senseless_requests(split: Split) -> Iterator[str]:
    """Gives wishes and questions of random words, each once."""
    keys = [f"{split}/request/{at}" for at in range(_COUNT.get(split, 0) // 2)]
    texts = (_filled(choice(_lines(_REQUESTS[split]), key), key, split) for key in keys)
    yield from dict.fromkeys(texts)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def _filled(template: str, key: str, split: Split) -> str:
    """Puts words into a template; the first letter is a capital."""
    words = {}
    for kind in _WORDS:
        for place in ("", "2", "3"):
            word = _word(kind, f"{key}/{kind}{place}", split)
            words[kind + place] = word
            words[f"{kind}{place}s"] = _with_s(word)
    counts = {f"count{place}": str(2 + number(f"{key}/{place}") % 98) for place in ("", "2")}
    text = template.format_map(words | counts)
    return text[:1].upper() + text[1:]


def _word(kind: str, key: str, split: Split) -> str:
    """Draws a word of the split, or makes one up."""
    drawn = number(key)
    if drawn % 4:
        return choice(_words(kind, split), key)
    word = _made_up(key, drawn)
    return word.capitalize() if kind == "name" else word


def _made_up(key: str, drawn: int) -> str:
    """Makes up a word: of syllables, or of any letters."""
    places = [f"{key}/{place}" for place in range(2 + drawn % 3)]
    if drawn % 3:
        return "".join(
            choice(_ONSETS.split(), at) + choice(_RIMES.split(), f"{at}/rime") for at in places
        )
    letters = "abcdefghijklmnopqrstuvwxyz"
    return "".join(choice(letters, at) + choice(letters, f"{at}/next") for at in places)


def _with_s(word: str) -> str:
    """Writes the plural of a noun, or the third person of a verb.

    >>> _with_s("fox"), _with_s("carry"), _with_s("boy")
    ('foxes', 'carries', 'boys')
    """
    if word.endswith(("s", "x", "z", "sh", "ch")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


@cache
def _words(kind: str, split: Split) -> list[str]:
    of_valid = split is Split.VALID
    return [w for w in _WORDS[kind].split() if (number(w) % _VALID_SHARE == 0) is of_valid]
