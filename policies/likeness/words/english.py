"""English."""

import re
from typing import Final

from policies.likeness.words import Lexicon, opposed, rules, table

# Not -ed: whether something starts or has started makes two questions.
_ENDING = re.compile(r"(?:ings?|es|s)$")
_IRREGULAR: Final = table(
    """
    child children
    person people
    man men
    woman women
    foot feet
    tooth teeth
    mouse mice
    forget forgot forgotten
    lose lost
    break broke broken
    life lives
    """
)


def stem(word: str) -> str:
    """Take the usual endings off: booking, booked, books and book are one, summarise and summarize too."""
    word = _IRREGULAR.get(word, word)
    if len(word) < 4:
        return word
    word = word.replace("isation", "ization")
    if word.endswith("ies") and len(word) > 4:
        word = f"{word[:-3]}y"
    elif not word.endswith(("ss", "us", "is")):
        cut = _ENDING.sub("", word)
        if len(cut) >= 3 and re.search("[aeiouy]", cut):
            word = cut
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    word = word.removesuffix("e")
    return f"{word[:-2]}iz" if word.endswith("is") and len(word) > 5 else word


_ASKS: Final = r"(?:i|we|you|one|someone|somebody|people)"
_START: Final = r"(?:^|(?<=[.!?;:,]))[ ]?"

_PHRASES: Final = rules(
    (r"\b(?:can'?t|cannot)\b", "can not"),
    (r"\b(?:won't)\b", "will not"),
    (r"\b(do|does|did|is|are|was|were|have|has|had|could|should|would|must|need)n'?t\b", r"\1 not"),
    (r"\b(i)'?m\b", r"\1 am"),
    (r"'ve\b", "have"),
    (r"'ll\b", "will"),
    (r"'re\b", "are"),
    (r"\b(i|we|you)'d\b", r"\1 would"),
    (r"\b(what|where|who|when|how|why|it|that|there|here)'?s\b", r"\1 is"),
    (r"'s\b|(?<=s)'(?= )", "_s_"),
    (r"^(?:hi|hello|hey|good (?:morning|afternoon|evening|day))(?: (?:there|all|team|everyone))?(?=[ ,.!])", ""),
    (r"\b(?:many )?thank(?:s| you)(?: so much| very much| a lot| in advance)?\b", ""),
    (r"\b(?:please|pls|plz|kindly|excuse me|by the way|quick question|right now)\b", ""),
    # Ways to ask to be told.
    (r"\b(?:do|does) (?:you|anyone|anybody|somebody) (?:happen to )?know (?:if|whether)\b", "_yn_"),
    (r"\b(?:do|does) (?:you|anyone|anybody|somebody) (?:happen to )?know\b", ""),
    (r"\bi (?:am|was) wondering (?:if|whether)\b", "_yn_"),
    (r"\b(?:i (?:am|was) wondering|i wonder|any idea|may i ask|can i ask|i have a question)\b", ""),
    (r"\bi (?:would like|want|need|wish|would love) to (?:know|find out|learn) (?:if|whether)\b", "_yn_"),
    (r"\bi (?:would like|want|need|wish|would love) to (?:know|find out)\b", ""),
    (r"\b(?:can|could|would|will) you (?:tell|explain to|show|give|teach|remind|let) me(?: know)? (?:if|whether)\b", "_yn_"),
    (r"\b(?:can|could|would|will) you (?:explain|show|tell|give|teach|remind|let|help)(?: to)? (?:me|us)(?: know| with)?\b", ""),
    (r"\b(?:tell|show|give|let|explain)(?: to)? (?:me|us)(?: know)?\b|\b(?:can|could) you explain\b|\bexplain\b", ""),
    (r"\b(?:can|could|would|will) you\b", ""),
    # How.
    (rf"\bhow (?:do|can|could|should|would|may|might|must|shall) {_ASKS}(?: go about| best)?\b", "_how_ _me_"),
    (r"\bhow to\b", "_how_ _me_"),
    (
        (r"\b(?:what is|is there) (?:the|a|an|any) (?:best |right |easiest |correct |proper |simplest |good )?"
        r"(?:way|method|procedure|process) (?:to|of|for)\b"),
        "_how_ _me_",
    ),
    (r"\bwhat (?:do|must|should) i (?:have to |need to )?do (?:in order )?to\b", "_how_ _me_"),
    (r"\b(?:what are )?(?:the )?steps (?:to|for)\b", "_how_ _me_"),
    (r"(?<!do )(?<!did )\bi (?:am trying|try|want|need|wish|would like|would love) (?:help )?(?:to|with)\b", "_how_ _me_"),
    (r"\b(?:i need help|help me|assist me)(?: to| with)?\b", "_how_ _me_"),
    (r"\bwhat (?:should|can|could|do|must|shall) (?:i|we) do\b", "_todo_ _me_"),
    # How much, and what is told by a noun as well.
    (r"\bhow much (?:is|are|for)(?= (?:the|your|one|this|that) [^\d]*$)", "_price_"),
    (r"\bhow much (?:does|do|did|will|would)(?= [^\d]*\bcosts?\b)", ""),
    (r"\b(?:prices?|costs?)\b", "_price_"),
    (r"\bhow much\b", "_howmuch_"),
    (r"\bhow many people live in\b", "population of"),
    (r"\bhow many\b", "_howmany_"),
    (r"\bhow long\b", "_howlong_"),
    (r"\bhow (?:often|frequently)\b", "_howoften_"),
    (r"\bhow far\b", "distance"),
    (r"\bhow (?:tall|high)\b", "height"),
    (r"\bhow (?:big|large)\b", "size"),
    (r"\bhow old\b", "age"),
    (r"\bhow come\b|\b(?:for what|what is the) reason(?: that| why| for)?\b|\bwhy\b", "_why_"),
    (r"\bhow\b", "_how_"),
    (r"\b(?:at )?what time\b|\bwhen\b", "_when_"),
    (r"\bwhere\b", "_where_"),
    (r"\bwhose\b", "_whose_"),
    (r"\bwho(?:m)?\b", "_who_"),
    # May I, shall I, must I; then whatever else is to be answered by yes or no.
    (r"\b(?:am i|are we|is it|would it be) (?:allowed|permitted|able|possible|ok|okay|fine)(?: for (?:me|us))?(?: to)?\b",
     "_can_ _me_"),
    (_START + r"(?:can|may|could) (?:i|we|one)\b", "_can_ _me_"),
    (_START + r"(?:can|may|could)\b", "_can_"),
    (_START + r"should (?:i|we|one)\b|\bis it advisable to\b", "_should_ _me_"),
    (_START + r"should\b", "_should_"),
    (_START + r"(?:do (?:i|we) (?:have|need) to|must (?:i|we)|is it necessary to|am i required to)\b", "_must_ _me_"),
    (_START + r"(?:do|does|is|are|has|have|am)\b", "_yn_"),
    (_START + r"(?:did|was|were)\b", "_yn_ _past_"),
    (_START + r"(?:will|would)\b", "_yn_"),
    (r"\b(?:did|was|were|had)\b", "_past_"),
    # "Not really" is less than "really not".
    (r"\bnot (?:really|exactly|quite|very)\b", "not fully"),
    (r"\bjust (?=(?:me|him|her|us|them|one)\b)", "only "),
    (r"\bnot (?:just|simply|merely)\b", "not only"),
    # Phrases that are words.
    (r"\bwhat is (the \w+|it) like\b", r"\1"),
    (r"\b(?:the )?(?:word|term) (?=[\ue000-\uf8ff])", ""),
    (r"\bget rid of\b", "remove"),
    (r"\bget (?:my|our|the) money back\b", "get refund"),
    (r"\b(?:log|sign|logged|signed|logging|signing) (?:in|on|into)\b", "login"),
    (r"\b(?:log|sign|logged|signed|logging|signing) out(?: of)?\b", "logout"),
    (r"\b(?:sign(?:ing)? up|create (?:an|my|a new) (?:new )?account)\b", "register"),
    (r"\b(?:turn|switch)(?:ed|ing)? on\b", "enable"),
    (r"\b(?:turn|switch)(?:ed|ing)? off\b", "disable"),
    (r"\bpick(?:ed|ing)? up\b", "collect"),
    (r"\b(?:send|sent|sending|give|giving) back\b", "return"),
    (r"\bend(?:ing)? (my|our|the) (subscription|contract|membership)\b", r"cancel \1 \2"),
    (r"\bfree of (?:charge|cost)\b", "free"),
    (r"\bswimming pools?\b", "pool"),
    (r"\b(?:mobile|cell|smart) ?phones?\b", "phone"),
    (r"\bcustomer (?:service|support|care)\b", "customersupport"),
    (r"\b(?:city|town) (?:center|centre)\b", "downtown"),
    (r"\b(?:business hours|hours of operation)\b", "opening hours"),
    (r"\b(?:promo|discount|voucher|coupon) codes?\b", "couponcode"),
    (r"\bper cent\b", "%"),
    (r"\bat least\b", "atleast"),
    (r"\bat most\b", "atmost"),
    (r"\bof course\b|\b(?:kind|sort)s? of\b", ""),
    (r"\bfind out\b", "find"),
    (r"\busing\b", "with"),
    (r"\bclosest\b", "nearest"),
    (r"\b(?:per|each|every|an?)(?= (?:day|week|month|year|hour)\b)", "each"),
)  # fmt: skip

ENGLISH: Final = Lexicon(
    language="en",
    signs=frozenset(
        "the what how is are do does did i my your you can could would should where when who why which of to for with "
        "and an it this that has have from on at by not please tell want need if there didn't doesn't isn't will get "
        "am they".split()
    ),
    phrases=_PHRASES,
    empty=frozenset(
        "the a an i me myself we us you yourself he she it they him them its one's this that these those there what "
        "which is are am be been being do does done has have having can could may might would will shall if whether "
        "then than so and as really actually just simply exactly currently basically very quite yet ever anymore own "
        "anything something also's such any well maybe perhaps ok okay want".split()
    ),
    negations=table(
        """
        not no nor non | never | without | nobody | nothing | neither
        """
    ),
    quantities=table(
        """
        all | every | each per | some several | few | many lots | much | most | least | more | less fewer | both
        none | only | also too | even | always | sometimes occasionally | often frequently | rarely seldom | usually
        atleast | atmost | half | double twice | already | still | again | enough | or | either | another other
        except
        """
    ),
    numbers=table(
        """
        0 zero | 1 one | 2 two | 3 three | 4 four | 5 five | 6 six | 7 seven | 8 eight | 9 nine | 10 ten | 11 eleven
        12 twelve dozen | 13 thirteen | 14 fourteen | 15 fifteen | 16 sixteen | 17 seventeen | 18 eighteen
        19 nineteen | 20 twenty | 30 thirty | 40 forty | 50 fifty | 60 sixty | 70 seventy | 80 eighty | 90 ninety
        100 hundred | 1000 thousand | 1e6 million | 1e9 billion | 1e12 trillion | 1. first 1st | 2. second 2nd
        3. third 3rd | 4. fourth 4th | 5. fifth 5th | 6. sixth 6th | 7. seventh 7th | 8. eighth 8th
        """
    ),
    dates=table(
        """
        monday | tuesday | wednesday | thursday | friday | saturday | sunday | mondays | tuesdays | wednesdays
        thursdays | fridays | saturdays | sundays | january jan | february feb | march | april | june | july
        august aug | september sept sep | october oct | november nov | december dec | today | tomorrow | yesterday
        tonight | morning | afternoon | evening | night | noon | midnight | spring | summer | autumn | winter | next
        last | previous | am | pm | ago | weekend
        """
    ),
    units=table(
        """
        kg kilo kilos kilogram kilograms | g gram grams | mg milligram milligrams | t ton tons tonne tonnes
        lb pound pounds lbs | oz ounce ounces | km kilometer kilometers kilometre kilometres
        m meter meters metre metres | cm centimeter centimeters centimetre centimetres
        mm millimeter millimeters millimetre millimetres | mi mile miles | ft foot feet | inch inches
        yd yard yards | l liter liters litre litres | ml milliliter milliliters millilitre millilitres
        gal gallon gallons | cup cups | s seconds sec secs | min minute minutes mins | h hour hours hrs | d day days
        week weeks | month months | y year years | % percent | usd dollar dollars | eur euro euros | °c celsius
        °f fahrenheit
        """
    ),
    prepositions=table(
        """
        of | to | from | in | into | on | onto | at | for | by | with | about regarding concerning | than | before
        after | until till | since | during | under | over | above | below | between | against | behind | through
        via | across | near | inside | outside | off | out | up | down | around | towards toward | along
        """
    ),
    telling=frozenset(
        "by before after until since during under over above below between against behind inside outside off out up "
        "down near around through across along via towards".split()
    ),
    loose=frozenset("of in at on for".split()),
    persons=table(
        """
        @1 i me my mine myself we us our ours _me_ | @2 you your yours yourself | he | him | his | she | her | hers
        they | them | their
        """
    ),
    focus=frozenset("only even".split()),
    joins=frozenset(["and"]),
    synonyms=table(
        """
        delete remove erase
        buy purchase
        cancel terminate
        change modify alter edit amend
        start begin commence
        fix repair mend
        big large
        biggest largest
        quick fast rapid
        quickest fastest
        film movie
        picture photo photograph image pic
        phone telephone smartphone cellphone mobile
        bike bicycle
        tire tyre
        color colour
        favorite favourite
        center centre
        theater theatre
        license licence
        program programme
        gray grey
        analyze analyse
        travel travelling travelled
        cancel cancelling cancelled canceled canceling cancellation
        annual yearly
        booking book reserve reservation
        parcel package shipment
        deliver delivered arrive delivery
        couponcode voucher coupon
        doctor physician
        lawyer attorney
        disease illness sickness
        ill sick
        vacation holiday
        salary wage
        firm company
        client customer
        child kid
        mother mom mum
        father dad
        car automobile
        shop store
        trash garbage rubbish
        sofa couch
        computer pc
        tv television
        screen display
        invoice bill
        information info
        need require
        get receive obtain
        cheap inexpensive
        smart intelligent clever
        difference distinction
        warranty guarantee
        choose select
        create make
        speak talk
        find locate
        answer reply
        enable activate
        disable deactivate
        login signin
        email mail
        summarize summary
        organize organise
        mean meaning
        tall height high
        assist help
        job vacancy
        """
    ),
    opposites=opposed(
        "enable/disable on/off before/after increase/decrease raise/lower import/export buy/sell open/close start/stop "
        "gain/lose arrive/depart maximum/minimum cheapest/expensive block/unblock upstairs/downstairs encrypt/decrypt win/lose "
        "install/uninstall advantage/disadvantage upload/download high/low best/worst add/remove shorter/longer "
        "largest/smallest gross/net upgrade/downgrade left/right lock/unlock accept/reject allow/forbid hot/cold up/down "
        "inside/outside above/below public/private input/output push/pull credit/debit male/female legal/illegal "
        "subscribe/unsubscribe first/last more/less old/new hide/show connect/disconnect",
        stem,
    ),
    stem=stem,
)
