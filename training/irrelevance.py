"""Requests that no tool answers: questions, chat, everyday troubles, sentences without sense.

They are told in the words of alerts, too, so that what is asked decides, and not how it is asked.
Each text belongs to one split for good, and everything is chosen by hashes.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from training.alternatives import expanded
from training.examples import Split
from training.hashed import choice, some
from training.nonsense import senseless_requests, senseless_sentences
from training.phrasings import PHRASINGS, lower_first

_IRRELEVANT: Mapping[Split, str] = MappingProxyType(
    {
        Split.TRAIN: """
        What is the capital of {Portugal|Japan|Kenya|Peru|Sweden|Egypt}?
        Write a {poem|song|story} about {autumn|the sea|my cat|bread}.
        How long do I boil {eggs|potatoes|rice|corn}?
        Translate good {morning|night} into {French|Spanish|Turkish|Greek}.
        Who won the {football|tennis|chess|golf} final?
        What is {seven|twelve|ninety} times {three|four|eight}?
        Recommend a {film|book|restaurant|podcast} for tonight.
        Tell me a joke about {programmers|penguins|lawyers|robots}.
        What will the weather be {tomorrow|on Sunday|in May}?
        How do I {iron a shirt|plant tomatoes|tie a tie|clean a window|draw a horse}?
        Summarise the history of {Rome|jazz|the bicycle|printing}.
        What is a {StatefulSet|ConfigMap|kubelet|Deployment|namespace|node}?
        Explain how {DNS|TLS|etcd|a queue|a certificate} works.
        Why is {Kubernetes|Redis|Prometheus|Flux} so popular?
        Who invented {the telephone|the pod|Git|Helm}?
        Is {Kubernetes|Docker|Linux} hard to learn?
        Compare {cats and dogs|trains and planes|Python and Go}.
        Which {shell|editor|keyboard|monitor} do you like best?
        How much is a litre of {milk|petrol|paint}?
        When was {Linux|Python|Kubernetes} first released?
        How {old|tall|heavy} is {an elephant|the Eiffel tower|the moon}?
        Plan a {holiday|dinner|walk} for {two|my family}.
        Where can I {park my car|buy a guitar|see a play}?
        What should I cook with {rice|beans|mushrooms}?
        Hello, who are you?
        Nice to meet you.
        How are you today?
        What can you do?
        Can we talk about something else?
        Thank you very much!
        Which {colour|size|font} would suit a {poster|kitchen|logo}?
        Do {bees|fish|plants} sleep at night?
        Are {tomatoes|mushrooms} fruit or vegetables?
        Can {dogs|parrots} count?
        Should I learn {piano|Spanish|Rust|chess} first?
        Give me three {names for a cat|facts about Venus|ideas for a present}.
        Sing me a {lullaby|birthday song}.
        Draft a {letter to my landlord|thank-you note|short speech}.
        Proofread this sentence: she {goed|have gone} home.
        Describe {Paris|a rainbow|the taste of honey} in one line.
        Invent a {slogan|password hint|nickname} for me.
        Convert {ten miles|three pounds|a cup of sugar} to metric.
        Define {entropy|irony|inflation}.
        Spell {necessary|rhythm|Massachusetts}.
        Name the {largest ocean|longest river|first president}.
        Count from one to {five|twenty} in {Latin|Japanese}.
        Is {coffee|chocolate|running} good for you?
        Was {Mozart|Newton|Cleopatra} married?
        Did {Brazil|the home team} play last night?
        Will there be {snow|a storm|traffic} at the weekend?
        Has the {post|bakery|library} opened yet?
        Remind me to {call mum|water the flowers|buy stamps}.
        Set a timer for {ten|forty} minutes.
        Turn the {radio|volume} {up|down}.
        Order a {pizza|taxi|bouquet} for seven.
        Book a table for {three|six}.
        How far is it to {Berlin|the airport|Mars}?
        How many {teeth|legs|keys} does a {horse|spider|piano} have?
        What do {whales|pandas} eat?
        What time is it in {Tokyo|Lima}?
        Where do {penguins|kangaroos} live?
        Where was {pizza|paper|football} invented?
        Why is the {sky blue|sea salty|grass green}?
        Why do {cats purr|leaves fall}?
        When is {Easter|the next full moon|Mother's Day}?
        Whose {idea|painting|book} was it?
        Which {football club|band|author} is your favourite?
        I am {bored|hungry|tired}, any ideas?
        My {back hurts|cat is missing|tea is cold}.
        Let us play {twenty questions|a word game}.
        What is the difference between {TCP and UDP|a stack and a heap}?
        Explain {recursion|public keys|an inode} to a child.
        Which {licence|framework|database} would you choose for a hobby project?
        How did {Debian|Prometheus|YAML} get its name?
        What does {CNCF|SRE|YAML} stand for?
        Explain {what a sidecar is|how a rollout works|why pods restart} {to me|in one line}.
        When should I use a {CronJob|Service|sidecar|volume claim}?
        Who needs {a service mesh|three etcd members|an ingress}?
        Is a {pod|node|container} {like a process|better than a virtual machine|expensive}?
        Teach me about {containers|scheduling|rollouts|storage classes}.
        How is {a cluster|a certificate|a namespace} {built|named|billed}?
        Good night.
        Never mind.
        That is all for now.
        Are you a robot?
        Who made you?
        Tell me something interesting.
        I like your style.
        """,
        Split.VALID: """
        What is the capital of {Norway|Chile}?
        Write a limerick about {tea|rain}.
        How do I bake {bread|a cake}?
        Which {river|mountain} is the highest or longest in {Europe|Asia}?
        Who wrote {Hamlet|Faust}?
        Suggest a {song|game} for children.
        Is {gold|ice} heavier than water?
        Explain {photosynthesis|a mutex} briefly.
        What is an {Ingress|operator}?
        Do you speak {Danish|Hindi}?
        How long is a {marathon|football match}?
        Are you there?
        See you tomorrow.
        """,
        Split.TEST_IRRELEVANT: """
        Which city is the capital of {Canada|Vietnam|Ghana}?
        Compose a short {ode|ballad} about {winter|coffee}.
        How long should I cook {lentils|pasta}?
        How do you say thank you in {Italian|Polish}?
        Who painted the {Mona Lisa|Night Watch}?
        What is the square root of {81|144}?
        Suggest a {museum|board game} for the weekend.
        Do you know a riddle about {owls|snow}?
        Is it going to rain {today|next week}?
        How do I {repair a bike tyre|sew on a button}?
        Explain the rules of {cricket|poker}.
        Plan a birthday party for my {son|aunt}.
        What does a {DaemonSet|Secret|scheduler} do?
        Give me an overview of {TCP|containers|git}.
        How many {planets|continents} are there?
        When does the next {train|bus} leave?
        What is the difference between {tea and coffee|a pod and a container}?
        Can you recommend a {laptop|bicycle}?
        Read me the news about {football|politics}.
        Which phone should I buy?
        What is your name?
        """,
    }
)
_TOPICS: Mapping[Split, str] = MappingProxyType(
    {
        Split.TRAIN: """
        volcanoes, violins, sourdough, glaciers, origami, beekeeping, marathons, opera,
        submarines, dinosaurs, saffron, comets, kites, tango, lighthouses, chess openings,
        bonsai, steam engines, the Olympics, Vikings, pancakes, orchids, karaoke, sailing,
        crosswords, sushi, castles, rainforests, judo, candles, ceramics, the Renaissance,
        mangoes, skateboards, whales, thunderstorms, ballet, cinnamon, deserts, trams,
        photography, the Alps, hedgehogs, cellos, perfume, surfing, otters, maple syrup,
        tattoos, windmills, yoga, haiku, lemurs, stamps, fencing, cheese, meteor showers,
        knitting, gondolas, espresso, elections, mortgages, vaccines, taxes, poetry slams,
        inflation, public transport, nursery rhymes, wedding cakes, quantum physics, compilers,
        microservices, version control, machine learning, load balancers, open source, regular
        expressions, continents and oceans, the stock market, house plants""",
        Split.VALID: "pyramids, jazz festivals, dumplings, penguins, hash tables, sunflowers",
    }
)
_TOPIC_TEMPLATES: Mapping[Split, tuple[str, ...]] = MappingProxyType(
    {
        Split.TRAIN: (
            "What is special about {topic}?",
            "Tell me about {topic}.",
            "Do you like {topic}?",
            "How much do people know of {topic}?",
            "Where can I learn about {topic}?",
            "I dreamt of {topic} last night.",
            "Write two lines on {topic}.",
            "Who first thought of {topic}?",
            "My friend talks of {topic} all day.",
            "Why are we so fond of {topic}?",
            "Draw me a picture of {topic}.",
            "Let us chat about {topic}.",
            "Find me a good book on {topic}.",
        ),
        Split.VALID: ("What should I know about {topic}?", "Say something nice about {topic}."),
    }
)
_EVERYDAY: Mapping[Split, str] = MappingProxyType(
    {
        Split.TRAIN: """My bicycle has a flat tyre
        The coffee machine leaks
        The train to work was late
        My neighbour plays the drums at night
        The lamp in the hall flickers
        Our dog does not want to eat
        The soup is far too salty
        I have lost my keys again
        The bread did not rise
        It has been raining all week
        My shoes are too small
        The heating at home makes a noise
        Nobody remembered her birthday
        The tomatoes on the balcony turn yellow
        My back hurts when I sit
        The lift is out of order
        The film was longer than expected
        There is no milk left in the fridge
        The baby cries every night
        The window does not close
        My phone screen is cracked
        The shower is cold in the morning
        The neighbours are on holiday
        I cannot fall asleep
        The printer at school is out of paper
        My homework is not finished
        The bus driver was rude
        The cat sits on the keyboard
        The garden gate is rusty
        The paint on the fence peels
        My tooth hurts since yesterday
        Someone ate the last piece of cake
        The dishwasher leaves spots on the glasses
        I forgot the name of that song
        The car does not start when it is cold
        The letter came back unopened
        Our team lost three games in a row
        The restaurant is full on Friday
        The piano is out of tune
        My passport expires in a month
        The kettle takes ages
        The stairs are slippery
        The novel has too many characters
        The concert was cancelled
        My umbrella broke in the wind""",
        Split.VALID: """The sofa does not fit through the door
        My watch runs ten minutes late
        The pizza arrived cold
        Our holiday was too short
        The stew tastes of nothing""",
    }
)
"""Troubles that no tool mends, told in the words in which alerts are told."""

_WORDINGS = 4
"""Wordings of each topic and each everyday trouble in training."""


def irrelevant_requests(split: Split) -> Iterator[str]:
    """Gives requests that have nothing to do with any alert; no split shares one."""
    for line in _IRRELEVANT.get(split, "").split("\n"):
        if line.strip():
            yield from expanded(line.strip())
    for topic in (" ".join(text.split()) for text in _TOPICS.get(split, "").split(",") if text):
        for template in some(_TOPIC_TEMPLATES[split], _WORDINGS, topic):
            yield template.format(topic=topic)
    for text in (line.strip() for line in _EVERYDAY.get(split, "").splitlines()):
        for template in some(_telling(split), _WORDINGS, text):
            yield _told(template, text)
    for text, question in senseless_sentences(split):
        yield _told(question or choice(_telling(split), text), text)
    yield from senseless_requests(split)


def _telling(split: Split) -> tuple[str, ...]:
    """Gives the templates of alerts that hold nothing but a symptom."""
    return tuple(p.template for p in PHRASINGS if p.split is split and p.tells_symptom_alone)


def _told(template: str, text: str) -> str:
    lower = text if text.startswith("I ") else lower_first(text)
    return template.format(
        text=text, lower=lower, symptom=text, symptom_lower=lower, other=text, other_lower=lower
    )
