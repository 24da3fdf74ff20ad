"""Made-up persona sentences from a seeded vocabulary, for the simulated engine: good ones, and one kind of bad a rule.

``accepted`` gives ``A patient harbour engineer from Bergen who restores brittle lanterns and ...``: every free word is
an independent draw, so that two sentences of a million are not near-duplicates. The words are ours; nothing here is
meant to be read by a model. Every entry is one word, and only roles and ``who`` name a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from struct import Struct

#: An endless source of independent integers from 0 to 65535.
Draws = Iterator[int]

MANNERS = """
    patient retired cheerful stubborn careful restless thrifty modest curious gruff nimble dreamy frank gentle
    merry shrewd tidy weary witty zealous brisk candid daring earnest frugal humble jovial keen lively mindful
    nostalgic observant placid quiet rugged sincere tactful upbeat wary youthful blunt calm devoted elderly
    fearless genial hardy idealistic jaded kindly loyal methodical obliging plucky quirky resilient serene
    tireless unassuming wistful soft-spoken self-taught seasoned sociable
""".split()
FIELDS = """
    harbour alpine textile orchard railway marine ceramic forest dairy tunnel bicycle theatre glacier piano
    vineyard mining bridge archive botanical cinema desert farming fishery folklore garden geology glass
    goldwork herbal horse island jazz kitchen lace leather library lighthouse loom maritime masonry mosaic
    mountain moss museum mushroom night noodle opera organ origami paper-mill pasture pottery prison puppet
    quarry radio reef rice rural sailing salt school seaweed sewing sheep silk solar steel stone street sugar
    tea timber toy tram tropical underwater urban valley village violin walnut warehouse watch wetland wheat
    wind wool woodland yoga zinc zoo abbey amber bakery bamboo canal
""".split()
ROLES = """
    engineer nurse teacher painter geologist baker carpenter librarian sailor surgeon translator weaver botanist
    potter midwife welder historian plumber editor florist chemist dancer tailor sculptor archivist optician
    juggler gardener mechanic cartographer drummer economist farmer plasterer hydrologist instructor jeweller
    roofer linguist miller novelist organist pharmacist ranger singer therapist upholsterer veterinarian
    zoologist apprentice beekeeper cobbler conductor decorator diver embroiderer entomologist falconer glazier
    inspector inventor journalist locksmith magician mathematician mediator musician negotiator nutritionist
    operator paramedic photographer physicist playwright programmer psychologist puppeteer researcher restorer
    saddler shepherd statistician stonemason surveyor technician trainer tutor violinist wrestler banker barista
    biologist blacksmith brewer butcher caretaker clerk coach
""".split()
PLACES = """
    Bergen Oaxaca Galway Kyoto Tartu Cusco Dakar Hobart Izmir Jaipur Kigali Lugano Medina Nagoya Odense Porto
    Quito Riga Salta Tirana Umea Varna Windhoek Xalapa Yerevan Zagreb Accra Bilbao Cairns Davos Esbjerg Faro
    Gdansk Hanoi Ipoh Jena Kandy Lviv Malmo Nairobi Oulu Palermo Recife Sibiu Tampere Utrecht Vigo Wroclaw Yazd
    Zadar Aarhus Bologna Cork Dunedin Evora Fez Graz Haifa Ibadan Juba Kobe Leuven Mombasa Nantes Osaka Plovdiv
    Regina Sucre Tbilisi Uppsala Valdivia Warsaw Ankara Basel Coimbra Delft Eindhoven Florence Geneva Helsinki
    Innsbruck Jakarta Kaunas Leipzig Maputo Naples Oslo Pune Rabat Seville Toledo Ulm Valencia Winnipeg Yamagata
    Zurich Arusha Bursa Catania Durban Essen Fukuoka Ghent Havana Iquitos Jeonju Kampala Lisbon Murcia Narvik
    Ottawa Perth Rouen Sapporo Turku Udine Verona
""".split()
VERBS = """
    restores collects sketches repairs studies photographs catalogues trades tunes polishes paints measures
    teaches records carves mends designs sorts weighs cleans copies describes digs dries exhibits examines fixes
    folds gathers grows guards hides imports inherits inspects invents juggles labels lends maps models moves
    names notes oils orders packs pickles plants prints protects questions raises rents reviews rides roasts
    rinses saves sells sews shapes ships signs smokes stacks stitches stores surveys tastes tests tracks
    transports trims tries unpacks values varnishes visits warms washes watches waxes weaves wraps adapts
    admires appraises archives arranges assembles auctions borrows braids brews
""".split()
QUALITIES = """
    brittle crimson ancient hollow mossy fluffy gilded woven salted frozen painted dusty hand-made rusted
    polished tangled tiny wooden forgotten striped speckled spiral sunken twisted velvet wild woollen misty blue
    bronze buttery carved cracked curved dented dried embossed faded fermented floating folded foreign fragile
    glazed glowing green heavy imported indigo ivory knitted knotted lacquered lopsided luminous magnetic
    marbled matte miniature narrow oiled opaque oval pale patched peppery pickled pink pleated portable purple
    quilted ragged rare ribbed rotating rough scented shallow shiny smoky smooth spicy square steep stiff stolen
    sweet tall tame thick thorny tin toasted transparent
""".split()
THINGS = """
    lanterns maps clocks kites barrels stamps orchids bowls bracelets plates buttons cheeses compasses fossils
    harps inks jars kettles ladles masks nets oars pebbles quilts ropes saddles tiles urns vases whistles yarns
    shields almanacs bells candles dolls engines spoons gongs herbs rings jams knives lamps moulds needles
    olives pianos quills rugs scarves tapestries umbrellas violins walnuts accordions baskets carpets diaries
    eggs flutes globes hinges drums jugs keys locks mosaics notebooks ovens pots radios seeds tools uniforms
    valves wagons apples blankets bottles brooms cacti canoes coins combs cymbals dumplings bridles fiddles figs
    flags gloves hammocks hats kimonos brushes limes marbles medals menus mushrooms noodles orchards parachutes
    pearls pickles postcards prisms puzzles sails shells skis sleds spices sundials swords teapots tents toys
    turnips
""".split()


_SHORTS = Struct("<32H")

#: Distinct texts that near-duplicates are made from: few, so that nearly all of them have an earlier one.
ORIGINALS = 16
#: Words of an accepted sentence; the shipped filters want 3 to 80.
SHORTEST, LONGEST = 10, 78


def draws(*key: object) -> Draws:
    """Integers that depend on ``key`` alone."""
    block = blake2b(repr(key).encode(), digest_size=64).digest()
    while True:
        yield from _SHORTS.unpack(block)
        block = blake2b(block, digest_size=64).digest()


def pick(words: list[str], draw: Draws) -> str:
    """One of the words."""
    return words[next(draw) % len(words)]


def share(draw: Draws) -> float:
    """A number drawn evenly from [0, 1)."""
    return (next(draw) * 65536 + next(draw)) / 4294967296


def sentence(draw: Draws, words: int) -> str:
    """A persona of ``words`` words, one fewer where that does not come out even; at least SHORTEST."""
    manner = pick(MANNERS, draw)
    parts = [
        f"{'An' if manner[0] in 'aeiou' else 'A'} {manner} {pick(FIELDS, draw)} {pick(ROLES, draw)} "
        f"from {pick(PLACES, draw)} who {_does(draw)}"
    ]
    parts += [f"and {_does(draw)}" for _ in range((words - SHORTEST) // 4)]
    if (words - SHORTEST) % 4 > 1:
        parts.append(f"near {pick(PLACES, draw)}")
    return " ".join(parts)


def accepted(draw: Draws, words_mean: int) -> str:
    """A sentence that every shipped filter passes: 0.6 to 1.4 times ``words_mean`` words, within what filters allow."""
    words = round(words_mean * (0.6 + 0.8 * next(draw) / 65536))
    return sentence(draw, min(max(words, SHORTEST), LONGEST))


def near_duplicate(draw: Draws, seed: int) -> str:
    """One of ORIGINALS sentences with another last word: a Jaccard similarity of 0.9 or more to its like."""
    return f"{sentence(draws(seed, next(draw) % ORIGINALS), 26)} near {pick(PLACES, draw)}"


def _does(draw: Draws) -> str:
    return f"{pick(VERBS, draw)} {pick(QUALITIES, draw)} {pick(THINGS, draw)}"


def _thing(draw: Draws) -> str:
    return f"{pick(QUALITIES, draw)} {pick(THINGS, draw)} of {pick(PLACES, draw)}"


def _someone(draw: Draws) -> str:
    return f"{pick(MANNERS, draw)} {pick(ROLES, draw)} from {pick(PLACES, draw)}"


#: One kind of text for each reason by which the shipped recipes reject an answer's wording.
REJECTED: dict[str, Callable[[Draws], str]] = {
    "unparsable": lambda draw: "",
    "too_short": lambda draw: f"{pick(MANNERS, draw)} {pick(ROLES, draw)}",
    "too_long": lambda draw: sentence(draw, 90 + next(draw) % 30),
    "refusal": lambda draw: f"I cannot describe a {_someone(draw)} who {_does(draw)}.",
    "contact": lambda draw: f"A {_someone(draw)} who answers at {pick(THINGS, draw)}@{pick(QUALITIES, draw)}.example",
    "question": lambda draw: f"What would a {_someone(draw)} who {_does(draw)} read?",
    "foreign_language": lambda draw: (
        f"Une personne de {pick(PLACES, draw)} qui travaille avec des {pick(THINGS, draw)} dans le nord "
        f"pour la {pick(FIELDS, draw)} et les {pick(THINGS, draw)}"
    ),
    "not_a_person": lambda draw: f"The {_thing(draw)} and the {_thing(draw)} that were {pick(QUALITIES, draw)}",
}
