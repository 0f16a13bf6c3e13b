# SPDX-License-Identifier: Apache-2.0
"""Generator of short English stories for young readers.

    stories(seed, size)  ->  list of stories, about size characters in all

Every story has a hero with a name, a work and a place; a friend; a season and
weather that fits it; a wish or a trouble; an attempt that fails; help; a
resolution that follows from the trouble; and an ending.  The text is built from
a small grammar:

    [a|b|]     one of the alternatives, which may nest and may be empty
    {key}      a value of the story (a name, a pronoun, ...) or, if the story
               has none, a random entry of the list LEX[key]
    {key:list} the same, and the choice is remembered under key
    {Key}      the value with a capital letter

Everything here was written for this project; nothing is quoted from elsewhere.
Run the file to print a few stories.
"""

import random
import re

# The stories have a cast that comes back, as in a series of books: who the hero
# is decides the friend, the work and the town.  A model of a few million
# parameters, trained for less than an hour on two cores, learns such links long
# before it learns to keep names apart that may be any.
# theme -> (hero, gender, friend, gender, town), twice
CAST = {
    "lighthouse": [("Mara", "f", "Tom", "m", "Greyharbour"),
                   ("Otto", "m", "Nell", "f", "Eastcliff")],
    "garden": [("Ivy", "f", "Ben", "m", "Appleford"),
               ("Hugo", "m", "Rosa", "f", "Larkfield")],
    "clock": [("Ada", "f", "Felix", "m", "Stonebridge"),
              ("Jonas", "m", "Tilda", "f", "Northgate")],
    "fox": [("Rusty", "m", "Hazel", "f", "Foxley", "badger"),
            ("Ember", "f", "Oskar", "m", "Brambleton", "tortoise")],
    "ship": [("Nora", "f", "Finn", "m", "Saltwick", "Morning Star"),
             ("Leo", "m", "Pearl", "f", "Merrow", "Seagull")],
    "library": [("Clara", "f", "Max", "m", "Thornby"),
                ("Theo", "m", "Amina", "f", "Windmere")],
    "bakery": [("Greta", "f", "Sam", "m", "Oakridge"),
               ("Emil", "m", "Lucy", "f", "Kettle Cove")],
    "robot": [("Tick", "n", "Vera", "f", "Marrow Hill"),
              ("Bolt", "m", "Walter", "m", "Dunmore")],
    "mill": [("June", "f", "Arlo", "m", "Millbrook"),
             ("Peter", "m", "Zora", "f", "Fernhollow")],
    "school": [("Elsie", "f", "Omar", "m", "Pebble Bay"),
               ("Milo", "m", "Wren", "f", "Quill Lane")],
    "island": [("Freya", "f", "Jack", "m", "Sandy Point"),
               ("Silas", "m", "Iris", "f", "Merrow Head")],
}

LEX = {
    "color": "red|blue|green|yellow|grey|brown|white|silver|golden|orange|"
             "purple|black|pale blue|dark green|copper".split("|"),
    "size": "small|little|tiny|big|large|tall|short|long|wide|narrow".split("|"),
    "animal": "cat|dog|owl|hedgehog|mouse|rabbit|robin|squirrel|duck|goose|"
              "goat|donkey|crow|badger|otter|mole|sparrow|hare|seagull|"
              "tortoise|pony|hen".split("|"),
    "bird": "robin|sparrow|blackbird|swallow|owl|crow|wren|gull|heron|lark|"
            "thrush|magpie".split("|"),
    "food": "bread and cheese|apple pie|vegetable soup|warm porridge|"
            "honey cakes|plum jam on toast|a boiled egg|hot potatoes|"
            "pea soup|ginger biscuits|pancakes|mushroom stew|pear tart|"
            "fish stew|oat cakes|cherry buns".split("|"),
    "drink": "tea|hot milk|warm cider|cocoa|mint tea|cold water|"
             "apple juice|honey tea".split("|"),
    "fruit": "apple|pear|plum|cherry|quince|peach|fig".split("|"),
    "flower": "rose|daisy|tulip|foxglove|poppy|marigold|sunflower|lily|bluebell|"
              "primrose|violet|snowdrop".split("|"),
    "vegetable": "carrot|bean|pumpkin|cabbage|turnip|onion|pea|leek|"
                 "potato|radish".split("|"),
    "tree": "oak|apple tree|willow|birch|pine|beech|old elm|"
            "pear tree|maple|chestnut tree|hazel|ash".split("|"),
    "tool": "hammer|spade|needle|screwdriver|bucket|ladder|rope|brush|saw|"
            "lantern|wheelbarrow|broom".split("|"),
    "toy": "kite|wooden boat|spinning top|drum|puppet|ball|paper bird|"
           "tin soldier|whistle|rag doll".split("|"),
    "metal": "brass|iron|copper|silver|tin|steel".split("|"),
    "number": "two|three|four|five|six|seven|eight|nine|ten|twelve".split("|"),
    "smallnum": "two|three|four|five|six".split("|"),
    "kin": "grandmother|grandfather|mother|father|aunt|uncle".split("|"),
    "clothes": "coat|scarf|hat|pair of boots|jacket|apron|pair of gloves|"
               "jumper|cap|shawl".split("|"),
    "softly": "softly|quietly|kindly|gently|in a low voice|with a smile|"
              "after a while|slowly".split("|"),
    "eagerly": "at once|eagerly|happily|with a laugh|brightly|"
               "as fast as he could say it".split("|")[:-1],
    "feeling": "happy|glad|proud|calm|hopeful|cheerful|thankful|"
               "content".split("|"),
    "worry": "worried|sad|unhappy|uneasy|troubled|downcast|anxious|"
             "miserable".split("|"),
    "virtue": "patient|kind|careful|honest|brave|gentle|thoughtful|"
              "hard-working|cheerful|clever|curious|steady|quiet|"
              "friendly|polite".split("|"),
    "furniture": "table|chair|bench|shelf|cupboard|desk|stool|"
                 "chest|window sill".split("|"),
    "container": "box|basket|jar|bag|drawer|tin|chest|sack|"
                 "barrel|bowl".split("|"),
    "instrument": "fiddle|flute|drum|accordion|horn|whistle|harp|"
                  "guitar".split("|"),
    "timeofday": "morning|afternoon|evening".split("|"),
    "oldthing": "a brass key|an old map|a silver coin|a blue feather|"
                "a cracked cup|a glass bead|a rusty compass|a folded letter|"
                "a wooden button|a small bell|a broken watch|a painted stone|"
                "a lost glove|a pocket knife|a sea shell|a little mirror".split("|"),
    "day": "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|"
           "Sunday".split("|"),
    "neighbour": "the baker|the miller|the postman|the ferryman|the teacher|"
                 "the blacksmith|the doctor|the shepherd|the fisherman|"
                 "the carpenter|the mayor|the tailor|the farmer|the weaver|"
                 "the old sailor|the beekeeper|the cobbler".split("|"),
}

SEASONS = {
    "spring": {
        "weather": ["a [soft|light|warm|gentle] rain was falling",
                    "the [first|early] flowers were [out|open]",
                    "the wind was [fresh|mild] and smelled of [grass|wet earth|blossom]",
                    "the birds were [singing|building their nests]",
                    "the snow had melted and the streams were full",
                    "the buds on the {tree} were about to open"],
        "sky": "The sun [came out|shone] between the clouds.|A rainbow [stood|hung] over the [hills|fields|roofs].|Small white clouds [sailed|drifted] across the sky.|Every [hedge|branch|bush] was [turning green|full of buds].",
        "nature": "lambs [jumped|played] in the fields|swallows came back from the south|the cherry trees turned white|bees went from flower to flower"},
    "summer": {
        "weather": ["the sun was [hot|bright|high]", "the air was [still|warm]",
                    "the days were long and the nights were short",
                    "the sky was [blue|clear] from one side to the other",
                    "the grass was [dry|high] and full of crickets",
                    "a warm wind [blew from the south|moved the leaves]"],
        "sky": "The sun [burned|shone] all day long.|There was not a cloud in the sky.|The heat [lay|rested] on the roofs.|In the shade of the {tree} it was [cool|pleasant].",
        "nature": "the corn turned yellow|the bees hummed in the clover|butterflies danced over the grass|the cats slept in the shade"},
    "autumn": {
        "weather": ["the leaves were [red and gold|falling|turning brown]",
                    "a [cold|strong|rough] wind [was blowing|shook the windows]",
                    "[thick|grey|white] fog lay over the [fields|water|valley]",
                    "the apples were ripe", "it had rained for {number} days",
                    "the nights were [growing cold|getting longer]"],
        "sky": "Dark clouds [hurried|raced] across the sky.|The leaves [danced|whirled] along the road.|The rain [tapped|drummed] on the [roof|window].|Wild geese flew over in a long line.",
        "nature": "squirrels hid their nuts|mushrooms came up under the trees|the farmers brought in the last hay|smoke rose from the chimneys"},
    "winter": {
        "weather": ["snow [lay|had fallen] on [the roofs|the fields|everything]",
                    "the pond was frozen", "[ice|frost] covered the windows",
                    "it was [bitterly|very] cold",
                    "the wind howled around the house",
                    "the snow was so deep that nobody could [travel|see the road]"],
        "sky": "Snow [fell|came down] in [big|soft|thick] flakes.|The stars were [sharp|bright] and cold.|The [moon|pale sun] shone on the snow.|[Icicles|Long icicles] hung from the roof.",
        "nature": "the birds came to the window for crumbs|the river lay still under the ice|children pulled sledges up the hill|the trees stood bare and black"},
}

# Each theme: work (how the hero is called), where, habits, and troubles.  A
# trouble is (wish or trouble, failed attempt, help or idea, solution, result).
# {N} the hero, {he} {him} {his} {himself}; {F} the friend, {fhe} {fhim} {fhis}.
THEMES = {}

THEMES["lighthouse"] = dict(
    role=["lighthouse keeper", "keeper of the light", "young keeper"],
    place=["in a [tall|white|lonely|old] lighthouse [by the sea|on the cliff|on a rocky island|at the end of the land]"],
    here=["the lighthouse", "the tower", "the lamp room"],
    habits=["Every evening {N} climbed the [winding|steep|narrow|stone] stairs and lit the lamp.",
            "{He} [polished|cleaned|wiped] the great lens until it [shone|gleamed|sparkled] like [water|ice|a star].",
            "{He} counted the ships that [passed|sailed by] and wrote [them|their names] in a [thick|blue|heavy] book.",
            "When the [sun went down|night came], the light [turned|swept] over the [dark|black|restless] water.",
            "At night {he} listened to the waves [below the window|against the rocks|on the stones].",
            "The sailors [trusted|loved|looked for] the light, for it [showed|told] them where the rocks were."],
    troubles=[
        ("One [night|evening], in the middle of a [storm|gale], the lamp went [out|dark]. {A:shipkind} was coming [closer and closer|nearer and nearer] to the rocks.",
         "{N} tried to light the lamp again, but the [wick|oil] was wet and would not [burn|catch]. {He} struck match after match, and the wind blew [every one of them|them all] out.",
         "\"[We can|Let us] light a fire on the [beach|cliff|rocks]!\" [said|cried|called] {F}. \"There is dry wood in the [cellar|shed|store].\"",
         "They carried the wood [up|out] together and made a [big|great|tall] fire. The flames [rose|leapt] high, and the [captain|sailors] saw them and turned the ship away from the rocks [just in time|].",
         "In the morning the captain came to [thank|see] them. \"Without your fire,\" he said, \"we would have lost [our ship|everything].\" Then he gave them a new [lamp|wick] and a barrel of [dry|good] oil."),
        ("[Thick|A thick] fog [rolled in|came in] from the sea, and the light could not be seen [at all|from the water]. Somewhere out there a [fishing boat|small boat|ferry] was [lost|looking for the harbour].",
         "{N} made the lamp burn [brighter|higher], but the fog [swallowed|hid] the light like [wool|milk].",
         "\"If they cannot see us, perhaps they can hear us,\" said {F}. {N} [remembered|thought of] the old bell [under the stairs|in the cellar].",
         "They hung the bell [from the railing|outside the window] and rang it [all night long|again and again|until their arms ached]. At last a voice [answered|called] from the fog, and the boat came slowly toward the sound.",
         "{Three} tired [fishermen|sailors] climbed out and [shook|held] {his} hand. \"That bell is the [sweetest|finest] sound I [know|ever heard],\" said one of them. From then on {N} rang the bell whenever there was fog."),
        ("One [day|morning] {N} found a [young seal|hurt gull|tired goose|small seal] on the rocks below the tower. It could not [move|go back to the sea], and the tide was [rising|coming in].",
         "{He} tried to come near, but the animal was [afraid|frightened] and [hissed|cried|moved away].",
         "\"[Sit still|Wait a little],\" said {F}. \"It must [learn|see] that we are [friends|not dangerous].\" So they sat down and waited, and {N} [sang|talked] to it in a [low|quiet] voice.",
         "After [an hour|a long time] the animal let {him} [touch it|come close]. {He} wrapped it in a [blanket|coat] and carried it up, away from the waves. For {number} days {he} fed it [fish|small fish] and [kept it warm|gave it water].",
         "When it was strong again, they brought it to the water. It looked back [once|for a moment], and then it was gone. But every [spring|summer|year] it came back to the rocks and [called|greeted them]."),
        ("The supply boat did not come, for the sea was too [rough|wild|high]. There was [only a little|hardly any] oil left for the lamp.",
         "{N} tried to save oil by [lighting the lamp late|making the flame small], but the ships could not see such a weak light.",
         "\"We [have|still have] the [candles|mirrors] in the [kitchen|hall],\" {F} said. \"What if we put [them|them all] around the lamp?\"",
         "They set [every candle|every mirror] they had around the lens. The light became [bright|strong] again, and it [reached|shone] far across the [water|sea].",
         "On the [third|fourth|fifth] day the sea grew calm and the boat arrived. \"I could see your light all the way,\" said the boatman. \"I [knew|never doubted] you would find a way.\""),
    ])

THEMES["garden"] = dict(
    role=["gardener", "young gardener", "keeper of the village garden"],
    place=["in a [small|stone|little|red] house [with a big garden|at the edge of the village|behind the church|beside an old garden]"],
    here=["the garden", "the greenhouse", "the orchard"],
    habits=["{He} [watered|weeded] the {vegetable} beds before breakfast.",
            "{N} knew [the name of every flower|when to plant and when to wait|which birds nested in the hedge].",
            "In {his} garden there were {flower}s along the path and {vegetable}s by the wall.",
            "{He} talked to the plants [as if they were friends|while {he} worked], and it seemed that they [listened|grew better].",
            "When the work was done, {he} sat under the {tree} and drank {drink}.",
            "The [children|neighbours|people] came to the gate to [look|smell the flowers|buy {vegetable}s]."],
    troubles=[
        ("One [spring|year] {N} planted a [strange|large|round] seed that [nobody knew|a traveller had given {him}]. Every day {he} looked, but nothing [grew|came up].",
         "{He} gave it more and more water, until the [earth|soil] was like mud. Still nothing [happened|moved].",
         "\"[You are in a hurry|Perhaps it needs time],\" said {F}. \"Seeds [sleep|rest] until they are ready. Let it be.\"",
         "So {N} waited. {He} [did other work|pulled weeds and mended the fence] and did not dig. Then, one [warm|bright|quiet] morning, a [green|tiny] shoot [stood|was standing] in the [bed|earth].",
         "By the end of the [summer|year] it was [taller than the house|a fine young tree], and there were [white|blue|golden] flowers on it. \"I am glad I waited,\" said {N}."),
        ("Something was eating the {vegetable}s. Each morning there were [new|more] holes in the leaves, and {N} was {worry}.",
         "{He} [built a fence|put up a scarecrow|stayed awake half the night], but in the morning the leaves were [eaten|full of holes] again.",
         "\"Let us look [with a lantern|very early|at night],\" said {F}. They [crept|went] out and saw a whole [family|row] of [snails|rabbits|caterpillars].",
         "{N} did not want to [hurt|harm] them. So they [planted|made] a [second|small|separate] bed behind the shed, full of [clover|lettuce|old cabbage], and carried the visitors there one by one.",
         "From then on there was enough for [everyone|all]. The {vegetable}s grew [big|well], and {N} [won a prize at the fair|gave a basket of them to {neighbour}|had soup for the whole winter]."),
        ("It had not rained for [weeks|many weeks]. The leaves [hung down|turned brown], and the well was [almost empty|nearly dry].",
         "{N} carried water from the [river|pond] in a [bucket|can], but the way was long and the bucket [had a hole|was small].",
         "\"If we all carry, it will be [easy|easier],\" said {F}. {Fhe} went from door to door and asked the neighbours to [help|come].",
         "They [stood|made] a long line from the river to the garden, and the buckets went from hand to hand. [Old people and children|The teacher and the miller|Everyone] helped, and somebody [sang|began to sing].",
         "That [evening|night] the plants [lifted their heads|stood up straight]. {N} [promised|told them] that the whole street should share the harvest, and in the [autumn|fall] they ate [together|at one long table] in the garden."),
        ("A [storm|hailstorm|strong wind] came in the night and broke the oldest {tree} in the garden. {N} had [climbed in it|loved it] since {he} was [small|a child].",
         "{He} tried to tie the branches together with [rope|string], but the trunk was [split|broken] and could not [heal|be saved].",
         "\"Look,\" said {F} [softly|quietly]. \"There is [a young shoot|a green twig] at the root. The tree has not [given up|gone away].\"",
         "{N} cut away the [broken|dead] wood and [put a fence around|protected] the young shoot. From the old wood {he} made a [bench|table], and {he} put it [beside the shoot|in the same place].",
         "Years later children climbed in the new tree, and {N} sat on the bench and [watched|told them the story]. \"Nothing [good|that is loved] is ever quite lost,\" {he} [said|used to say]."),
    ])

THEMES["clock"] = dict(
    role=["clockmaker", "young clockmaker", "mender of clocks"],
    place=["in a [narrow|crooked|little|tall] house full of clocks", "above a [small|dusty|quiet] clock shop"],
    here=["the workshop", "the shop", "the clock tower"],
    habits=["All day long the clocks [ticked|ticked and chimed] on the [walls|shelves].",
            "{N} had [steady hands|a sharp eye] and a [box|drawer] full of tiny [wheels|springs|screws].",
            "{He} [wound|oiled|set] the clocks every {day}.",
            "People brought {him} [watches|clocks] that had [stopped|fallen|grown slow], and {he} made them [run|go] again.",
            "At noon all the clocks struck twelve, [one after the other|almost at the same time], and the {animal} ran under the table.",
            "{He} said that a clock is like a [friend|heart]: you must listen to it [every day|carefully]."],
    troubles=[
        ("One [cold|grey|quiet] morning the great clock in the tower stopped. Without it nobody in [the town|{T}] knew when to [open the shops|go to school|eat lunch].",
         "{N} climbed the tower and [oiled|cleaned] every wheel, but the hands did not move. {He} [searched|looked] until it was dark.",
         "\"Did you look behind the [bell|big wheel]?\" asked {F}. \"I [hear|heard] something [rustle|move] there.\"",
         "Behind the [bell|big wheel] there was a nest, and in the nest sat {smallnum} young [swallows|owls|jackdaws]. A twig had fallen between the wheels. {N} took the twig out very [carefully|gently], and the clock [began to tick|started again].",
         "{He} left the nest where it was and put a little [board|fence] in front of it. When the clock struck, the young birds [answered|sang], and the people [looked up|smiled]."),
        ("A [boy|girl|little girl] came into the shop with a [music box|pocket watch|cuckoo clock] that had belonged to {hiskin}. \"Can you [mend|repair] it?\" [asked the child|the child asked]. \"It is [all I have|very dear to me].\"",
         "{N} opened it and saw that a [wheel|spring|pin] was [missing|broken]. {He} tried {number} others, but none of them [fitted|was right].",
         "\"If there is no such wheel in the world,\" said {F}, \"then you must make one.\" {Fhe} brought a piece of {metal} from the [drawer|shelf].",
         "{N} [filed|cut] and measured, and measured again. It took {him} [three evenings|the whole night|{number} days]. At last the little wheel [turned|slipped into its place], and the music [began|came back].",
         "The child [laughed|cried for joy] and wanted to pay with [a button|a coin|an apple]. \"[Keep it|That is enough],\" said {N}. \"[A song|Your smile] is the best [pay|payment] for a clockmaker.\""),
        ("{N} wanted to build a clock [that never stopped|with a dancing bear|that showed the moon and the stars]. {He} had thought of it for [years|many winters].",
         "The first clock [ran too fast|fell apart], and the second one [struck thirteen|would not run at all]. {He} [sighed|put down the tools].",
         "\"You work alone too much,\" said {F}. \"Tell me how it [should|is meant to] work.\" And while {N} explained it, {he} [suddenly|all at once] saw the mistake.",
         "One wheel was [too big|the wrong way round]. {He} changed it, and the clock [began|started] to tick in a [clear|calm|steady] voice.",
         "On {day} {he} put it in the window. [People|Children] came from [far away|every street] to see it. \"I could not have done it without {F},\" said {N}."),
        ("{Neighbour} [came|hurried] into the shop. \"My clock runs backwards!\" {sayshe} said. \"I [had breakfast at night|came to market a day early].\"",
         "{N} turned the hands forward, but as soon as {he} let go, they [went|ran] backwards again.",
         "\"May I see?\" asked {F}. {Fhe} held up a [mirror|lamp] and looked inside. \"Somebody has put the [spring|wheel] in the wrong way.\"",
         "{N} took the clock apart, laid all the pieces [on a cloth|in a row], and put them together [again|in the right order]. [Tick, tock|Tick, tick, tick], said the clock, and the hands went forward.",
         "Everybody laughed, and {N} made [tea|a pot of tea]. \"It was [nice|strange] to have yesterday again,\" said the visitor, \"but I like tomorrow better.\""),
    ])

THEMES["fox"] = dict(
    role=["fox"], fox=True,
    place=["in a [dry|warm|cosy|deep] den under [the roots of an oak|an old stone wall|the hill|a fallen tree]"],
    here=["the den", "the forest", "the clearing"],
    habits=["{He} had a [red|soft|thick] coat and a [white|bushy] tail [with a white tip|], and {he} was very proud of it.",
            "At [dawn|dusk] {he} [trotted|walked] through the [wet|tall|dewy] grass and sniffed at everything.",
            "{N} knew every path in the forest, and [most|all] of the [smells|sounds].",
            "{He} was [clever|quick], but {he} was [sometimes lonely|not always patient].",
            "The [old owl|badger|hare] [said|thought] that foxes [cannot be trusted|talk too much], but {N} [only laughed|did not mind].",
            "At night {he} lay with {his} nose under {his} tail and dreamed of [summer|blackberries|the moon]."],
    troubles=[
        ("One day {N} heard a [small|thin|weak] voice. A young [hare|hedgehog|mouse|rabbit] had fallen into a [pit|deep hole|dry well] and could not get out.",
         "{He} reached down with {his} paw, but the hole was too [deep|narrow]. \"Please do not [eat me|go away]!\" cried the little one.",
         "\"I will not,\" said {N}. {He} ran to {F}, who [always had good ideas|lived by the stream]. \"We need a [branch|long branch],\" said {F}.",
         "Together they [dragged|pulled] a long branch through the forest and let it down into the hole. The little animal climbed up, [step by step|slowly], and at last it stood [in the light|on the grass].",
         "\"I thought foxes were [bad|wicked],\" it said. \"Some days we are [hungry|foolish],\" answered {N}, \"but today I am your friend.\" And they [shared|ate] blackberries until the [sun set|moon rose]."),
        ("The winter was [long|hard], and {N} had nothing to eat. {He} came to a [farm|hen house] and saw light in the window.",
         "{He} wanted to [steal|take] an egg, but the [dog|goose] barked and {he} ran away with an empty [stomach|belly].",
         "\"Why don't you ask?\" said {F}. \"The farmer has mice in the barn, and you are [good|quick] at catching mice.\"",
         "So {N} went to the door and asked [politely|with {his} ears down]. The farmer [laughed|scratched his head]. \"A fox who asks! Very well. Keep the mice away, and there will be a bowl of [milk|soup] for you every night.\"",
         "All winter {N} [guarded|watched] the barn, and the hens slept [in peace|well]. When the [snow melted|spring came], {he} and the [dog|goose] were [friends|almost friends]."),
        ("{N} found a [shiny|round|golden] thing in the grass: it was {thing:oldthing}. {He} carried it to {his} den and would not show it to anybody.",
         "But {he} was afraid that someone might [steal|take] it, and {he} could not [sleep|eat]. {He} [hid|buried] it in {number} different places.",
         "\"You [look tired|have grown thin],\" said {F}. \"What is it that [troubles|worries] you?\" And {N} told {fhim} everything.",
         "\"A thing that [steals your sleep|makes you afraid] is not a treasure,\" said {F}. They [asked|went around and asked] who had lost it, and {neighbour} [wept|laughed] for joy to have it back.",
         "That night {N} slept [soundly|until noon]. [In front of the den|On the stone by the den] lay [a fresh pie|three eggs|a piece of cheese], and {he} shared it with {F}."),
        ("{N} wanted to [see the sea|find out where the river goes|climb the highest hill]. \"It is too far for a [small|young] fox,\" said everybody.",
         "{He} set out alone, but [at the first crossing|in the fog] {he} lost the way and walked in a circle.",
         "Then {he} met {F}. \"Follow the [water|stars|river],\" said {F}. \"I will come with you [as far as the bridge|, if you like].\"",
         "They walked for {number} days. They [slept under hedges|crossed a bridge|swam through a stream], and when one was tired, the other [told a story|waited]. At last they stood on top, and below them lay the [wide|blue|shining] sea.",
         "{N} was silent for a long time. \"It is [bigger|more beautiful] than I thought,\" {he} said. \"And it is good not to [see it|be here] alone.\""),
    ])

THEMES["ship"] = dict(
    role=["sailor", "young captain", "cabin hand", "captain of a small ship"],
    place=["on a [small|sturdy|red|fast] ship called the {shipname}", "aboard the {shipname}"],
    here=["the deck", "the cabin", "the harbour"],
    habits=["{N} could tie {number} different knots and knew the names of the stars.",
            "In the morning {he} [washed|scrubbed] the deck and [looked at|checked] the sails.",
            "The {shipname} carried [wool|salt|apples|letters|timber|tea] from one harbour to [another|the next].",
            "When the wind was good, the sails were round and white, and the ship [flew|danced] over the waves.",
            "In the evening the crew [sang|told stories], and {neighbour}'s brother played the {instrument}.",
            "{He} loved the smell of [salt|tar] and the sound of the ropes."],
    troubles=[
        ("For {number} days there was no wind. The sails hung [down|empty], and there was [little|not much] water left in the barrels.",
         "The crew tried to row, but the ship was [too heavy|full of cargo] and hardly moved.",
         "\"Look at the [birds|gulls|clouds],\" said {F}. \"They [all fly|move] to the [west|north|south]. There must be [land|wind] over there.\"",
         "{N} [sent out|took] the small boat with {smallnum} sailors, and they pulled the ship with a rope. In the [night|evening] they felt it: first a [breath|whisper], then a breeze. The sails [filled|moved], and everyone [shouted|cheered].",
         "Two days later they [reached|saw] an island with a [clear|cold] spring. They drank and laughed, and {N} [named|called] it the Island of [Patience|the Gulls|Good Luck]."),
        ("A [great|terrible|sudden] storm came up. The waves were as high as houses, and the mast [cracked|began to crack].",
         "{N} tried to hold the [wheel|rudder], but {he} was not strong enough, and the ship turned [sideways|in a circle].",
         "\"Take the rope!\" [cried|shouted] {F}. \"We will hold it together!\"",
         "They tied the [wheel|rudder] with a strong rope and held on, [side by side|shoulder to shoulder], the whole night. They took down the torn sail and threw the [empty|heavy] barrels into the sea.",
         "At dawn the storm was over. The [sea|water] was as smooth as [glass|a plate], and nobody was [hurt|missing]. \"A ship is only as strong as its [crew|friends],\" said {N}."),
        ("In [an old chest|the cabin] {N} found a map. It showed an island with a [red|black|small] cross, and beside it [stood|was written] the word [\"treasure\"|\"dig here\"].",
         "They sailed to the island and dug under the [tall palm|big rock], but they found only [sand|stones and sand].",
         "\"Perhaps we are holding it upside down,\" said {F}, and turned the map around. {N} [laughed|had to laugh].",
         "They walked to the other [end|side] of the island and dug again. The spade hit [wood|something hard]. In the box there was no gold, but [a letter|a hundred letters], [a flute|a telescope] and a packet of [seeds|maps].",
         "The letter said: \"Whoever finds this, [plant the seeds|look at the stars] and think of me.\" They did so, and {N} thought that it was [better than gold|the best treasure of all]."),
        ("There was a stowaway on board: [a goat|a small cat|a boy with bare feet|a girl with a drum] [sat|was hiding] behind the barrels.",
         "\"We must [turn back|go back],\" said {N}, but the wind was against them and the harbour was far behind.",
         "\"Everyone on a ship [must|has to] have work,\" said {F}. \"Let us see [what our guest can do|who is good at what].\"",
         "And it turned out that nobody could [keep watch|find the lost rope|chase the rats|climb the mast] so well. [The crew|All the sailors] grew fond of the new [shipmate|friend].",
         "When they came home, the stowaway did not want to leave. \"Then stay,\" said {N}. \"There is [always room|a place] on the {shipname} for one more.\""),
    ])

THEMES["library"] = dict(
    role=["librarian", "young librarian", "keeper of books"],
    place=["in a [quiet|tall|narrow|warm] house next to the library", "above the old library"],
    here=["the library", "the reading room", "the cellar of the library"],
    habits=["{N} knew where every book [stood|belonged], even the [smallest|thin ones].",
            "{He} [dusted|counted] the shelves and [put the books back|mended torn pages].",
            "Whoever came in was given [a chair|a cup of {drink}] and a good book.",
            "On {day}s {he} read stories to the children, and [even the {animal} listened|nobody made a sound].",
            "The library smelled of [paper|old paper] and [wax|wood|apples].",
            "{N} believed that there is a [right|] book for everybody."],
    troubles=[
        ("One [morning|evening] a book was missing. It was the [oldest|most beautiful] book in the library, with a [blue|golden|green] cover and [pictures of the sea|drawings of stars].",
         "{N} looked [behind the shelves|under the tables|in every room], but it was not there. {He} [asked|wrote to] everybody who had been in the library.",
         "\"Who [comes|was here] when it rains?\" asked {F}. {N} thought. There was a [boy|girl] who [always sat|used to sit] by the stove and never spoke.",
         "They found the child [at the mill|by the bridge|in a cold room], reading to a [sick|little] brother. \"I wanted to ask,\" said the child [with a red face|and looked down], \"but I was afraid that you would say no.\"",
         "{N} sat down and [listened to the end of the story|turned the page]. Then {he} wrote a [card|library card] for both children. \"Next time, ask,\" {he} said. \"The answer is yes.\""),
        ("The roof of the library [leaked|had a hole], and water dripped [on the shelves|onto the books].",
         "{N} put [buckets|bowls and pots] everywhere, but it rained more and more, and soon the buckets were full.",
         "\"We must [bring|carry] the books to a dry place,\" said {F}. \"[My house|The school|The bakery] is dry.\"",
         "{F} told {neighbour}, and {neighbour} told others. All the people of {T} came, and each took home [ten|as many] books [to keep them safe|as they could carry]. Then they mended the roof together.",
         "When the [sun shone|roof was ready] again, every single book came back, and many of them had [been read|a flower between the pages]. \"The books [went visiting|had a holiday],\" said {N}."),
        ("{Aaboy} came to the library who did not like [books|to read]. \"The letters [dance|jump] before my eyes,\" said the child.",
         "{N} brought a [thick|famous] book, and then a thin one, but the child [yawned|looked out of the window].",
         "\"What do you like [best|most]?\" asked {F}. \"[Ships|Foxes|Robots|Storms|Cakes],\" said the child at once.",
         "So {N} told a story about just that, and stopped in the [middle|most exciting place]. \"The rest is in here,\" {he} said, and held up a small book. The child read one line, then [two|another], then a whole page.",
         "The lamp was lit, and the child still [read|sat there]. \"May I [take it home|come again tomorrow]?\" asked the child. {N} [smiled|nodded], for this was the [loveliest|best] question {he} knew."),
        ("At night there were [strange|soft|odd] noises in the library: [tap, tap, tap|a rustle and a sigh]. Some people said that there was a [ghost|spirit].",
         "{N} stayed awake with a [candle|lantern], but whenever {he} came near, the noise stopped.",
         "\"Ghosts do not leave crumbs,\" said {F}, and pointed at the floor. There was a [thin|little] trail of crumbs [between|along] the shelves.",
         "They followed it and found [a family of mice|an old owl|a lost kitten] behind the [atlas|dictionary]. There was a nest there, made of [old newspapers|torn paper].",
         "\"They may stay,\" said {N}, \"if they [do not nibble the books|are quiet].\" {He} put down a [saucer|piece of cheese], and after that the library had [no ghost|its own night watch]."),
    ])

THEMES["bakery"] = dict(
    role=["baker", "young baker", "baker's helper"],
    place=["over a [warm|small|busy] bakery", "in the bakery [at the corner|on the market square|beside the bridge]"],
    here=["the bakery", "the kitchen", "the shop"],
    habits=["{N} got up [before the sun|when the stars were still out] and made a fire in the oven.",
            "{He} [kneaded|folded] the dough with [strong|floury] hands, and the whole street smelled of [bread|warm bread].",
            "In the window there were [loaves|buns], [rolls|cakes] and {fruit} tarts.",
            "{He} always gave the last [bun|roll] of the day to {neighbour} or to the {animal}.",
            "\"Good bread needs flour, water, salt and [time|patience],\" {he} used to say.",
            "The children [pressed their noses against|stood in front of] the window."],
    troubles=[
        ("One morning the bread did not rise. The loaves were as flat as [plates|stones] and as hard as [wood|bricks].",
         "{N} used more [flour|water] and a hotter fire, but the second batch was [even worse|burnt].",
         "\"Is the kitchen [cold|too cold]?\" asked {F}. \"Dough is like a [cat|child]: it wants to be warm.\" {Fhe} pointed to the [broken|open] window.",
         "They [closed|mended] the window and put the dough near the stove, under a [clean|soft] cloth. Then they waited and [played cards|told stories]. Slowly the dough [grew|rose], until it lifted the cloth.",
         "The bread was [light|better than ever]. People came back for a second loaf. \"I have learned,\" said {N}, \"that dough cannot be hurried.\""),
        ("The [mayor|school|whole town] wanted a [cake|huge cake] for the [feast|summer feast|birthday of the town], and there was [no sugar|not an egg] in the house.",
         "{N} ran to the [market|shop], but [it was closed|everything was sold].",
         "\"We have [honey|apples and honey],\" said {F}, \"and [the neighbours have hens|my {kin} has nuts]. Let us ask them.\"",
         "{N} asked at every door, and everybody gave [something|a little]: an egg, a cup of milk, a handful of nuts. They [stirred|mixed] and baked until late in the night.",
         "It was not the cake {N} had planned, but it was the [best|biggest] one {T} had ever seen. \"Who made it?\" asked the guests. \"We all did,\" said {N}."),
        ("Someone took a {bun} from the window sill every morning. {N} never saw who it was.",
         "{He} hid behind the [door|curtain] and waited, but {he} fell asleep, and the {bun} was gone.",
         "\"Put a [note|letter] beside it,\" said {F}. So {N} wrote: \"Are you hungry? Please come in.\"",
         "The next morning the [door|shop door] opened a little, and there stood {aold} who had no work. \"I [can|could] carry flour,\" said the stranger [shyly|in a low voice]. \"I can [sweep|chop wood] too.\"",
         "{N} needed help, and the stranger needed bread. After that they worked together, and nobody had to [steal|be hungry] any more."),
        ("The oven [broke|cracked], just before the [feast|market day|longest night]. Without an oven there would be no bread for anyone.",
         "{N} tried to close the crack with [clay|mud], but when the fire was lit it [opened again|fell out].",
         "\"{Neighbour} knows about stones,\" said {F}. \"Let us ask [for help|politely].\"",
         "{N} was too proud at first, but then {he} went and asked. They brought [new bricks|good stones], and they all worked until the oven was [whole|mended].",
         "The first loaf that came out of it was given away in [slices|pieces], still warm, with butter. \"It is easier to [ask|share] than I thought,\" said {N}."),
    ])

THEMES["robot"] = dict(
    role=["robot"], robot=True,
    place=["in the workshop of [an inventor|an old engineer] called {F}", "in a [house|cottage|small house] with {F}, who had built {him}"],
    here=["the workshop", "the house", "the yard"],
    habits=["{N} was made of {metal} and had [two round eyes|a round head|quiet wheels|long arms] that [shone|glowed|hummed] when {he} was thinking.",
            "Before {he} did anything new, {N} always asked, \"May I?\"",
            "{He} [swept|cleaned] the floor, carried the wood and [counted the spoons|watered the plants].",
            "{F} had taught {him} a rule: when you are not sure, stop and ask.",
            "{N} was strong, but {he} was very careful with [cups|eggs|small things] and people.",
            "In the evening {N} sat [by the window|beside the stove] and [listened to the rain|learned new words]."],
    troubles=[
        ("One day {F} went to [market|the village], and {N} was alone. Behind the [red|blue|heavy] door [something hummed|there was a strange sound]. \"Do not open it,\" {F} had said.",
         "{N} went to the door and put out {his} hand. {He} [wanted|wished] to know what was behind it. Then {he} [stopped|took the hand away again].",
         "\"I do not have permission,\" {he} said to {himself}. \"I will ask when {F} comes home.\" And {he} sat down in front of the door and waited.",
         "In the evening {F} came back. \"May I know what is behind the door?\" asked {N}. \"Thank you for asking,\" said {F}. \"There is a [hive of bees|young owl with a broken wing|sleeping cat with kittens]. If you had opened the door, [they would have been frightened|it would have been frightened away].\"",
         "Then {F} opened the door [slowly|just a little], and they looked in together. \"Now you may [help me|come every day],\" said {F}, \"because I know that I can trust you.\""),
        ("There was a [flood|fire in the stable|great storm], and the people of {T} needed help. \"I am strong,\" said {N}. \"May I [go|help them]?\"",
         "At first they were afraid. \"A machine!\" they said. \"Who knows what it will do?\" And they closed [their doors|the gate].",
         "{N} did not push the gate open. {He} stood in the rain and asked, \"What may I do, and what may I not do?\" \"You may carry the [sandbags|water],\" said {neighbour} at last, \"but do not go into the houses.\"",
         "So {N} carried [sandbags|buckets] the whole night, and {he} did not set foot in any house. When a [child|kitten] [called|cried] from a window, {he} asked again, and they [nodded|said, \"Yes, go!\"]. {He} brought it out safely.",
         "After that nobody was afraid of {N}. \"{He} can do a great deal,\" they said, \"but {he} asks first. That is the best thing about {him}.\""),
        ("{N} wanted to make {F} [happy|a present]. {He} thought that [the old coat was ugly|the garden was untidy|the papers on the desk were in the way].",
         "{He} was about to throw everything away. But was it allowed? {He} was not sure, and so {he} [waited|stopped] with the [coat|spade|papers] in {his} hands.",
         "\"May I [throw this away|tidy up]?\" {he} asked when {F} came in. {F} [turned pale|looked up]. \"Oh no,\" {fhe} said. \"That is [the last thing I have from my {kin}|the work of ten years|where the hedgehog sleeps].\"",
         "\"I am glad that I asked,\" said {N}. \"What would you like [instead|better]?\" {F} thought for a moment. \"[Sing me a song|Make some tea|Sit with me], please.\"",
         "So they sat [together|side by side] by the fire, and {N} [hummed|sang] a song. It was the [nicest|best] present of the year."),
        ("{N} heard a [knock|voice] at the door in the middle of the night. \"Let me in!\" [called|said] a stranger. \"I am [your master's|{F}'s] friend.\"",
         "{N} looked through the window. {He} did not know the man, and {F} was asleep. \"I may not open the door [at night|for people I do not know],\" said {N}.",
         "\"I order you to open!\" cried the stranger. \"I am sorry,\" {N} answered, \"but only {F} can give me permission. I will ask. Please wait.\"",
         "{He} woke {F}, and {F} came down with a lamp. When the stranger saw the light, he [ran away|hurried off] into the dark. [He had a sack on his back|He left a crowbar on the step].",
         "\"You did well,\" said {F}. \"You were [polite|friendly] and you kept your [promise|word].\" And {N}'s eyes [glowed|shone] a little [brighter|more warmly]."),
        ("{N} found a small [bird|mouse|beetle] that had fallen from the roof. {He} had never held anything alive.",
         "{He} stretched out one finger, but {he} was afraid to [press too hard|hurt it].",
         "\"{F}, may I pick it up?\" {he} asked. \"And how?\" \"Make a bowl with your hands,\" said {F}, \"and let it [come|climb in] by itself.\"",
         "{N} made a bowl with {his} hands and did not move. {He} waited for [an hour|a whole hour]. Then the little creature [hopped|climbed] in and [fell asleep|sat still].",
         "\"It is warm,\" said {N} [in surprise|in a whisper]. \"And you are gentle,\" said {F}. They [put it back|brought it home] in the [evening|morning]."),
    ])

THEMES["mill"] = dict(
    role=["miller", "young miller", "miller's child"],
    place=["in a [windmill|windmill on the hill|watermill by the stream]"],
    here=["the mill", "the yard", "the loft"],
    habits=["When the [wheel|great wheel] turned, the whole house [shook|hummed] and the flour flew like snow.",
            "{N} carried the heavy sacks [up the ladder|to the cart] and never complained.",
            "{He} had flour in {his} hair, on {his} sleeves and even on {his} nose.",
            "Farmers brought {him} [wheat|rye|barley] and took home [flour|fine flour].",
            "The {animal} of the mill was [fat|lazy] and [slept on the sacks|white with flour].",
            "On quiet days {he} [mended the sacks|sat on the step and whistled]."],
    troubles=[
        ("One day the millstones stopped. [Something was stuck|There was a strange noise], and no flour came [out|down].",
         "{N} pushed with all {his} strength, but the stones did not move.",
         "\"[Stop|Do not force it],\" said {F}. \"First look, then push.\" They lifted the [cover|lid] and held a lamp over it.",
         "Between the stones lay {thing:oldthing}. It must have fallen into the grain. {N} took it out, and the stones [turned|ran] as [smoothly|well] as before.",
         "{He} asked every farmer until {he} found the owner. It was {neighbour}, who had looked for it [for a whole year|since the harvest]. As a thank-you there were [pancakes|cakes] for [everyone|the whole mill]."),
        ("The wind had gone, and the people in {T} had no flour. {Neighbour} came to the door with an empty [sack|bowl].",
         "{N} tried to turn the stones by hand, but after [one hour|half a sack] {he} was too tired to [stand|go on].",
         "\"[My donkey|The old horse] is stronger than we are,\" said {F}. \"And [she|it] likes carrots.\"",
         "They tied a [rope|pole] to the wheel, and the animal walked [round and round|in a circle]. The stones turned slowly, and the flour fell [softly|] into the [box|sack].",
         "Nobody in {T} went hungry, and the animal got {number} carrots and a [ribbon|blue ribbon]. Then the wind came back, as if it had only been [asleep|on holiday]."),
        ("A poor [widow|old woman|old man] brought a very small bag of grain. \"It is [all|everything] I have,\" she said. \"How much flour will it make?\"".replace("|old man", ""),
         "{N} knew that it would only make one [small|little] loaf. {He} did not know what to say.",
         "{F} [winked|looked at {him}]. \"There is always some flour [on the floor|in the corners],\" {fhe} [whispered|said]. \"Nobody will miss it.\"",
         "{N} shook out every sack and swept every [corner|step], and {he} put [it all|all of it] into the old woman's bag, until it was [full|as round as a pumpkin].",
         "\"Your grain was [very good|very fine],\" said {N} [seriously|with a straight face]. On {day} a warm loaf [lay|stood] on the step of the mill."),
    ])

THEMES["school"] = dict(
    role=["pupil", "schoolgirl", "child"], child=True,
    place=["in the village of {T}", "in a [yellow|small|crooked] house in {T}", "with {his} {kin} on a farm near {T}"],
    here=["the school", "the yard", "the hill"],
    habits=["{He} liked [drawing|running|counting stars|old stories|questions], and {he} did not like [getting up early|cold soup|spelling].",
            "Every morning {he} walked to school [over the bridge|through the fields|along the river].",
            "{N} and {F} sat on the same bench and shared their [bread|apples].",
            "{He} had a [tame|old|clever] {animal} that followed {him} everywhere.",
            "After school {he} helped {his} {kin} with the [hens|goats|washing].",
            "{N} asked so many questions that the teacher sometimes had to [laugh|look them up]."],
    troubles=[
        ("{N} had [lost|forgotten] something important: the key to the [school|house|chest]. {He} had [promised|given {his} word] to take care of it.",
         "{He} [turned out|searched] all {his} pockets and looked [under every stone|along the road], but the key was gone.",
         "\"Let us go the same way again,\" said {F}, \"step by step. Where were you [first|this morning]?\"",
         "They went back [past the well|over the bridge], past the [mill|bakery], and to the {tree} where {N} had [rested|tied a shoe]. There, in the nest of a magpie, something [glittered|shone]. {F} climbed up and brought down the key, and left a [button|bright button] for the bird.",
         "{N} told {his} {kin} [everything|the truth]. \"[You lost it and you found it|You told the truth],\" was the answer. \"That is worth more than a key.\""),
        ("On {day} there was to be a [race|kite contest|boat race] in {T}. {N} had built a {toy2} [all alone|out of paper and wood], but it [broke|would not work].",
         "{He} tied it with string and [glued|nailed] it, but it broke again at the same place.",
         "\"Take mine,\" said {F}. \"Or else: let us make one out of both.\"",
         "They put the good parts of both together. It looked [strange|funny], half red and half blue, and the other children [laughed|pointed at it]. But it [flew|went] [higher|farther] and [faster|straighter] than all the others.",
         "They won [a jar of honey|a bag of nuts|a ribbon] and [shared it|cut it in two]. \"Half is more,\" said {N}, \"when it is half with you.\""),
        ("A new [boy|child] came to the school. [The child|He] spoke [another language|very little], and at noon [the child|he] sat alone [under the {tree}|on the wall].".replace("[The child|He]", "He").replace("[the child|he]", "he").replace("[boy|child]", "boy"),
         "{N} said hello, but the boy only looked at his shoes. {N} did not know what to do.",
         "\"You don't need words to [play ball|share an apple],\" said {F}.",
         "{N} sat down beside the boy and cut an apple into [two|three] pieces. Then {he} drew a [house|ship|dog] in the sand. The boy laughed and drew [a mountain|a train|a camel] next to it. He said a word, and {N} repeated it.",
         "By [summer|winter] the boy knew many words, and {N} knew [some|almost as many] of his. \"A friend,\" said the boy, \"is [the first word|the best word] I learned here.\""),
        ("{N} was afraid of the dark. When the lamp was out, {he} [saw|heard] [shadows|strange sounds] [on the wall|behind the door].",
         "{He} pulled the blanket over {his} head, but then it was [even darker|too hot to sleep].",
         "\"Come,\" said {F} [one evening|softly], \"we will [visit|look at] the dark together.\" They took [a blanket|two apples] and went out [into the garden|to the hill].",
         "At first it was black. Then they saw one star, then ten, then [thousands|more than they could count]. They heard [an owl|the river|the crickets], and the [wind|grass] smelled of [rain|hay].",
         "\"The dark is full of things,\" said {N}. \"They are only [quiet|shy].\" And from that night {he} slept with the window open."),
        ("{N} and {F} had a quarrel. It was about [a ball|a drawing|who was faster], and it was [silly|not important], but neither wanted to [give in|say sorry].",
         "{N} walked home alone. {He} tried to play alone, but [a game for two|a seesaw] is no fun for one.",
         "\"Who is right?\" asked {his} {kin}. \"I am,\" said {N}. \"And is it [nice|warm] there, where you are right?\" {N} thought about this for a long time.",
         "Then {he} ran to the bridge. In the middle of the bridge {he} met {F}, who was running too. \"I am sorry,\" they both said at the same time, and then they [had to laugh|laughed].",
         "They never found out who had been right. They went [fishing|to look for frogs] instead."),
    ])

THEMES["island"] = dict(
    role=["fisherman's child", "ferry keeper", "beekeeper", "shepherd"],
    place=["on a [small|green|windy] island", "in a [hut|stone hut|cottage] on the hill above {T}"],
    here=["the hill", "the shore", "the path"],
    habits=["{N} knew the weather [by looking at the clouds|by the smell of the wind].",
            "{He} got up early, ate {food} and went to work.",
            "In the [pocket|bag] {he} always carried [a knife and a string|bread and an apple|a whistle].",
            "{He} did not talk much, but when {he} spoke, people listened.",
            "In the evening {N} played the {instrument} in front of the house.",
            "The {animal} walked behind {him} like a [shadow|little shadow]."],
    troubles=[
        ("One evening a [lamb|young goat|little donkey] was missing. [The fog was coming|It was getting dark], and the cliffs were [steep|dangerous].",
         "{N} called and called, but [only the wind answered|there was no answer].",
         "\"Let us [be still|stand still] and listen,\" said {F}. They held their breath. Far away a little bell [rang|tinkled].",
         "They followed the sound over [stones|the rocks], hand in hand, and found the animal [on a narrow ledge|between two rocks]. {N} tied a rope [around {his} waist|to a tree], climbed down and brought it up in {his} arms.",
         "At home it drank [warm milk|a bowl of milk] and fell asleep at once. \"[Listening|To listen] is also a way of [looking|searching],\" said {F}."),
        ("A [bridge|footbridge] over the stream had been [broken|washed away] by the [flood|rain]. Now nobody could [come to market|visit anybody on the other side].",
         "{N} laid a [plank|tree trunk] across the water, but the water [took it away|was too strong].",
         "\"One stone alone [rolls away|is lost],\" said {F}, \"but many stones hold each other.\"",
         "So they [carried|brought] stones, big ones and small ones, day after day. On the other side {neighbour} saw it and began to [build|carry stones] too. On the {number2} day they met in the middle and shook hands.",
         "The new bridge was [strong|made of stone] and had [a small bench|room for two carts]. They called it the Bridge of [Two Sides|Friends|Many Hands]."),
        ("{N} found a bottle on the [beach|shore]. Inside there was a letter: \"[I am alone on my island|Who lives on the other side of the sea]? Please write to me.\"".replace("[I am alone on my island|Who lives on the other side of the sea]?", "Who lives on the other side of the sea?"),
         "{N} wrote an answer and threw the bottle back, but the [waves|tide] brought it back to the same [stone|place].",
         "\"The [current|wind] goes the wrong way,\" said {F}. \"Let us [give it to a ship|take it out in the boat].\"",
         "They rowed out [beyond the rocks|far from the shore] and let the bottle go. It [danced|bobbed] on the water, and then it was gone. They waited [all winter|for many months].",
         "In the [spring|summer] a ship came, and [a girl|an old man|a boy] with a [red|yellow] scarf stood [at the rail|on the deck]. \"I have come to thank you for the letter,\" the stranger said. They talked until the [stars came out|fire burned low]."),
        ("The bees had [gone|flown away]. The [hives|boxes] were [empty|silent], and without bees there would be no [honey|apples].",
         "{N} looked in every [hollow tree|garden], but {he} did not find them.",
         "\"Bees like [clover|thyme|lime trees],\" said {F}. \"Where does it [grow|bloom] now?\"",
         "They walked to the [old quarry|far meadow], and there, on a branch, hung the bees like a [brown|living] bag. {N} did not [hurry|run]. {He} held a [basket|box] under the branch and shook it [gently|once], and the bees fell in with a [soft|low] hum.",
         "{N} planted [clover|thyme] all around the house, so that they would [stay|never have to go so far again]. That year the honey was [dark|golden] and sweet."),
    ])

OPENINGS = [
    "[Once|Once upon a time|Long ago|Many years ago|In the old days] there was a {role} [called|named] {N}, who lived {place}.",
    "{N} was a {role} [in|from] {T}. {He} lived {place} [with {F} as {his} only neighbour|and had a friend called {F}|and knew everybody].",
    "{N} lived {place}. {He} was a {role}[, and a {virtue} one|].",
    "In {T} there lived a {virtue} {role} named {N}.",
    "[Far away|Not far from {T}|Behind the hills], a {role} named {N} lived {place}.",
    "There was once a {role} who lived {place}. {His} name was {N}.",
    "This is the story of {N}, the {role} [of {T}|], and of what happened one {season}.",
    "Everyone in {T} knew {N}, the {role}. {He} lived {place}.",
    "{N} had been a {role} for [as long as anyone could remember|{number} years|only a short time].",
]
FOX_OPEN = [
    "[Once|Once upon a time|Long ago] there was a [young|little|red|small|clever] fox [called|named] {N}, who lived {place}.",
    "{N} was a [young|red|curious|hungry|gentle] fox. {He} lived {place}.",
    "In the forest near {T} there lived a fox named {N}.",
    "This is the story of a fox [called|named] {N}, and of what happened one {season}.",
    "Deep in the forest a [little|young] fox named {N} lived {place}.",
]
ROBOT_OPEN = [
    "[Once|Once upon a time] there was a [small|little|shy|tall|friendly] robot [called|named] {N}, who lived {place}.",
    "{N} was a robot. {He} lived {place}.",
    "In {T} there lived a [little|polite|curious|quiet] robot named {N}. {He} lived {place}.",
    "This is the story of {N}, a robot who [always asked first|liked to ask questions|was very careful].",
]
FRIEND = {
    "person": ["{His} best friend was {F}, [who lived next door|who came every day|the child of {neighbour}].",
               "{F}, {his} [friend|neighbour|best friend], [often came to help|came to visit almost every day|had a {virtue} heart].",
               "{He} had a friend [called|named] {F}, who [laughed a lot|was {virtue} and {virtue}|was never in a hurry|liked to [sing|whistle|cook]].",
               "[Only|Nobody but] {F} [knew {him} well|visited {him} often]."],
    "animal": ["{His} best friend was [a|an old|a wise|a cheerful] {fkind} [called|named] {F}.".replace("a|an old", "a|a very old"),
               "{He} had one friend, a {fkind} named {F}, who [knew many things|was never in a hurry|liked to joke].",
               "Not far away lived {F}, a {fkind}, who was {his} friend."],
}
SETTING = [
    "It was {season}, and {weather}.",
    "It was a [cold|warm|quiet|bright|windy|grey] {timeofday} in {season}. {sky}",
    "That {season}, {weather}. {sky}",
    "{sky} It was {season}, and {nature}.",
    "[All around|Outside|In the village|On the hills], {nature}.",
    "It was the [first|last] day of {season}, and {weather}.",
]
BRIDGES = [
    "\"What is the matter?\" asked {F}. \"[You look {worry}.|Has something happened?]\"",
    "{N} did not know what to do. {He} [sat down|walked up and down|looked at {his} hands].",
    "\"I [cannot|will never] do this,\" said {N} {softly}.",
    "That night {N} could not sleep. {sky}",
    "{N} was {worry}, but {he} did not [want to give up|give up].",
    "\"Do not [worry|be afraid],\" said {F}. \"We will think of something.\"",
    "\"Maybe I should ask {F},\" thought {N}.",
    "\"First we will eat something,\" said {F}, and brought {food}. \"With an empty stomach nobody has good ideas.\"",
    "{He} [sighed|frowned|shook {his} head]. {F} [came closer|sat down beside {him}|looked at {him}].",
    "\"There must be a way,\" said {N}. \"There is always a way.\"",
    "For a [moment|while] nobody [spoke|said anything]. {sky}",
    "",
    "", ""]
AGREE = [
    "\"That is a good idea,\" said {N} {eagerly}.",
    "\"Yes!\" [cried|said] {N}. \"Why did I not think of that?\"",
    "\"Do you really think so?\" asked {N}. \"I am sure,\" said {F}.",
    "{N} [nodded|thought about it and nodded]. \"Let us try,\" {he} said.",
    "\"It is worth a try,\" said {N}.",
    "{N}'s face [lit up|brightened].",
    "\"Will you help me?\" asked {N}. \"Of course,\" answered {F}.",
    "",
    "", ""]
ENDINGS = [
    "And that [evening|night] {N} was {feeling}[, and slept well|, and {F} was too|].",
    "{N} was {feeling}. {F} was {feeling} too.",
    "After that, {N} was never [lonely|afraid] again.",
    "They sat together until it was dark, ate {food} and [talked about everything|were silent together|told each other stories].",
    "And if you come to {T} one day, you can still [hear the story|see it for yourself].",
    "\"What shall we do tomorrow?\" asked {F}. \"The same as today,\" said {N}, \"only [slower|better|with more cake].\"",
    "{sky} {N} [smiled|closed {his} eyes] and [thought|said to {himself}]: it is good to have a friend.",
    "From that day on {N} [always asked for help when {he} needed it|was a little more patient|never forgot to say thank you].",
    "\"Thank you,\" said {N}. \"[For what|What for]?\" asked {F}. \"For [everything|being here],\" said {N}.",
    "People in {T} still tell this story[ today|, when the nights are long|].",
    "People told this story in {T} for [many|a hundred] years.",
    "Then they drank {drink}, and the [day|story] was over.",
    "{N} looked [out of the window|up at the sky|at {F}] and [laughed|was {feeling}]. It had been a [good|long] day.",
    "That is the end of the story, but not the end of their [friendship|adventures].",
    "And the {color} [scarf|hat|ribbon] that {F} gave {him} that day, {N} [wore|kept] for many years.",
]
ASIDES = [
    "{Neighbour} [walked by|came past] and [waved|said good morning|stopped to talk]. \"[Cold today|Nice weather|Bad weather|A fine day]!\" \"Yes, [indeed|it is],\" said {N}.",
    "On the {furniture} [stood|lay] a {container} with [nuts|buttons|letters|string|{fruit}s] in it.",
    "A {bird} sat [on the roof|on the fence|in the {tree}] and [sang|watched|looked on].",
    "For breakfast there was {food}, and {he} drank {drink}.",
    "{He} put on {his} {color} {clothes} and went out.",
    "\"[Good morning|Hello],\" said {F}. \"Did you sleep well?\" \"Very well,\" said {N}. \"I dreamed of [the sea|a big cake|flying|a white horse].\"",
    "In the [corner|yard] lay a {animal} and [slept|dreamed].",
    "{F} brought [some {drink}|a bag of {fruit}s|a {color} {flower}|{food}]. \"For you,\" {fhe} said.",
    "\"Do you remember the [winter|summer] when the river [froze|ran dry]?\" asked {F}. \"I do,\" said {N}. \"[It was hard|We were lucky].\"",
    "The {tree} in front of the house was [older than the house|{number} years old|full of birds].",
    "\"I [like|love] {season},\" said {F}. \"[The air is so clear|Everything smells good|It makes me think of my {kin}].\"",
    "Then {he} [swept the floor|washed the cups|fetched water|chopped some wood] and [whistled|sang] a song.",
]


# Small scenes, two to four sentences each, that can follow each other freely in
# a story about an ordinary day.
SCENES = [
    "{N} went to the market to buy {smallnum} {vegetable}s and a {what:tool}. The market was full of people. \"How much is this {what:tool}?\" asked {N}. \"[Eight|Nine|Ten|Twelve] coins,\" said {neighbour}, \"but for you it is {smallnum}.\"",
    "On the way {he} met {neighbour}, who was carrying a heavy {container}. \"May I help you?\" asked {N}. \"That would be kind,\" was the answer. So they carried it together as far as the [bridge|church|corner], and then they rested under a {tree}.",
    "It began to rain, and {N} had no [umbrella|coat]. {He} ran to the old {tree} and waited there. A wet {animal} was sitting under the tree too. They looked at each other, and then they waited together until the rain stopped.",
    "{N} found {thing:oldthing} [on the road|under the {tree}|by the river|on the bench]. {He} looked around, but there was nobody to be seen. \"Someone must be looking for this,\" {he} thought, and {he} took it to {neighbour}.",
    "{F} was sitting on the [wall|bench|steps] and [reading|peeling an apple|mending a net]. \"Come and sit with me,\" said {F}. They sat in the [sun|shade] and watched the [clouds|people|ducks], and for a while neither of them said a word.",
    "In the afternoon {N} wanted to bake a [cake|{fruit} tart|loaf]. {He} mixed flour and butter and [eggs|milk], but {he} forgot the [sugar|salt]. \"It tastes [strange|interesting],\" said {F}, and took a second piece anyway.",
    "{N} wrote a letter to {his} {kin}. \"I am well,\" {he} wrote. \"The {animal} is well too. It is {season} here, and {weather}.\" Then {he} put a {flower} in the letter and took it to the post.",
    "A little {animal} had lost its way and stood in the middle of the road. {N} knelt down and held out {his} hand. The {animal} [sniffed|came closer] and was not afraid. {N} carried it home, and {neighbour} was very glad to have it back.",
    "{F} had a cold and had to stay in bed. {N} brought {fhim} {food} and a {color} {flower}. \"Tell me something,\" said {F}. So {N} told {fhim} about the [river|market|big ship|fox in the garden], until {F} fell asleep.",
    "The {color} door of the house would not open. {N} pushed and pulled, but it was stuck. \"Wood grows when it is wet,\" said {neighbour}. \"Rub some soap on it.\" {N} did so, and the door opened without a sound.",
    "{N} and {F} built a [hut|tower|dam] out of [branches|stones|old boards]. When it was almost finished, it fell down. They looked at each other and laughed. \"Again?\" asked {F}. \"Again,\" said {N}.",
    "In the night {N} woke up, because something scratched at the window. It was only a branch of the {tree}. {He} listened to the wind for a while, and then {he} fell asleep again.",
    "{He} took the {color} {clothes} from the hook and went down to the [river|harbour|pond]. The water was [dark|clear|very still]. A {bird} stood on one leg and did not move. {N} stood on one leg too, but not for long.",
    "\"Can you keep a secret?\" asked {F}. \"I think so,\" said {N}. \"I have a [nest of young {bird}s|cave|place with a thousand {flower}s] to show you, but you must be quiet.\" They went on tiptoe, and what {N} saw there {he} never told anyone.",
    "{Neighbour} had broken a leg and could not work. So the people of {T} took turns. {N} chopped the wood on {day}s, and {F} cooked {food}. After {smallnum} weeks {neighbour} could walk again and invited them all.",
    "There was a fair in {T}. There were [wooden horses|dancing dogs|big balloons] and a man who played the {instrument}. {N} won a {toy} and gave it to a small child who had lost a [shoe|balloon]. The child stopped crying and smiled.",
    "{N} climbed the hill to see the [sunset|sunrise|stars]. From up there {T} looked as small as a toy. The sky was [red and gold|dark blue|pale and wide], and somewhere a dog barked. {He} stayed until {he} grew cold.",
    "\"Why are you so quiet?\" asked {F}. \"I am thinking,\" said {N}. \"About what?\" \"About whether [fish sleep|the moon is cold|trees can hear us].\" {F} did not know either, and so they thought about it together.",
    "The {animal} had eaten {his} {food}. {N} was angry at first. But the {animal} looked so guilty that {he} had to laugh. \"Next time,\" said {N}, \"please leave me half of it.\"",
    "{N} had a hole in {his} {color} {clothes}. {He} took a needle and thread and sewed it up. It was not beautiful, but it was warm. \"I like it better than before,\" said {F}. \"Now it has a story.\"",
    "\"It was I who broke the [window|jar|cup],\" said {N}. {His} heart was beating fast. {Neighbour} looked at {him} for a long time. \"Thank you for telling me,\" {neighbour} said at last. \"Now let us sweep up the pieces.\"",
    "There was only one [bun|{fruit}|piece of cake] left, and both of them wanted it. \"You cut, and I choose,\" said {F}. {N} cut it so carefully that the two halves were exactly the same.",
    "{N} learned to play the {instrument}. At first it sounded like a [cat|gate|sick goose], and the {animal} left the room. After {number} weeks it sounded like a song, and the {animal} came back.",
    "In the evening there was [a knock at the door|someone at the gate]. A traveller stood there with snow or dust on the shoes. \"May I stay for one night?\" asked the traveller. \"Come in,\" said {N}. \"There is {food}, and the stove is warm.\"".replace("snow or dust on the shoes", "a heavy bag"),
    "The boat was small, and the river was wide. {N} rowed, and {F} looked out for stones. \"Left!\" cried {F}. \"No, the other left!\" They went around in a circle, but at last they reached the other side.",
    "{F} had forgotten that it was {his} birthday. {N} did not say anything, but {he} was a little sad. Then the door opened, and there stood {F} and {neighbour} with a cake and {number} candles. They had not forgotten it at all.",
    "{N} wanted to cross the [field|yard|bridge], but there was a sign: \"Please ask first.\" So {he} went to the house and knocked. \"May I cross your [field|yard|bridge]?\" {he} asked. \"Of course,\" said {neighbour}. \"You are the first one who has asked.\"",
    "They sat by the fire and roasted [chestnuts|apples|potatoes]. {F} told a story about a [giant|ship|clever fox|girl] who lost a shadow and had to look for it. {N} looked behind {himself} now and then, to see whether {his} own was still there.",
    "When {he} came home, it was already dark. {He} lit the lamp and gave the {animal} something to eat. The [clock|kettle|fire] made a friendly sound. \"It is good to be at home,\" said {N}.",
    "In the morning all the [windows|fields|roofs] were [white|wet|golden]. {N} ran outside with only one shoe on. \"Look, {F}!\" {he} called. \"Everything is new!\"",
    "{N} planted a {tree} behind the house. \"It will be {number} years before it gives any shade,\" said {F}. \"Then I had better start today,\" said {N}.",
    "The teacher asked what the most [beautiful|useful] thing in the world was. \"Gold,\" said one. \"The sea,\" said another. {N} thought for a long time. \"A [door that is open|warm bed|friend who waits],\" {he} said.",
    "{N} lost {his} {clothes} in the wind. It flew over the wall, over the roof and into the {tree}. A {bird} looked at it and seemed to like it. \"Keep it until {spring2},\" said {N}, \"but then I would like to have it back.\"",
    "\"Let us see who can be quiet the longest,\" said {F}. They were quiet. They heard the [bees|wind|rain], the {bird}s and a cart far away. Then the {animal} sneezed, and both of them laughed.",
    "For supper there was {food}. {N} ate {smallnum} plates of it, and {F} ate {smallnum}. Afterwards they drank {drink} and counted the stars, but they always lost count at [a hundred|twenty|sixty].",
    "{N} could not find {his} [key|hat|book|glasses]. {He} looked under the {furniture}, in the {container} and behind the stove. \"What are you looking for?\" asked {F}. \"It is on your head.\" ".replace("[key|hat|book|glasses]", "[hat|glasses|cap]").strip(),
    "Down at the [harbour|station] {N} watched the [ships|trains] come and go. One was {color}, and one was {color}. \"Where do they all go?\" {he} asked. \"Away,\" said {neighbour}, \"and then home again.\"",
    "The well was frozen, and {N} needed water. {He} filled a {container} with snow and put it on the stove. It took a great deal of snow to make one cup of tea. But it was the best tea of the whole winter.",
]
DAY_OPEN = [
    "{N} lived in {T}, in a {color} house with a {tree} in front of it. {He} had a {animal} and a friend called {F}.",
    "One {day} in {season}, {N} woke up early. {Sky}",
    "It was {season}, and {weather}. {N} opened the window and looked out.",
    "{N} was a {virtue} [girl|woman|person] who lived in {T}. {He} liked {food} and long walks.",
    "\"What a [fine|strange|beautiful] day,\" said {N}. {Sky} {He} put on {his} {color} {clothes} and went to see {F}.",
    "Every {day}, {N} and {F} did something together. This time it was {season}, and {weather}.",
    "{N} and {F} had been friends for {number} years. {N} was {virtue}, and {F} was {virtue}, and that was good for both of them.",
    "There was once a {virtue} [child|cobbler|weaver|tailor|shepherd|painter] in {T} whose name was {N}.",
]

# Short pieces of other kinds, about one document in six.
OTHER = [
    # descriptions
    "It was {season} in {T}. {Weather}. {sky} In the [street|square|lane] {neighbour} was talking to {N}. [Children|Some children] played with a {toy}, and a {animal} [watched|followed] them. In the evening the lamps were lit, one after the other. Somebody played the {instrument}. Then it became quiet, and only the [clock|river|wind] could be heard.",
    "The house of {N} had a {color} door and {smallnum} [small|round] windows. Inside there was a {furniture}, a {furniture} and a big stove. On the wall hung [a picture of a ship|an old clock|a map of {T}]. When it rained, the {animal} lay in front of the stove. When the sun shone, it lay [on the step|under the {tree}]. {N} said that it was the [best|nicest] house in {T}, and nobody [disagreed|said no].",
    "In {season}, {nature}. {sky} That is the time when {N} likes to walk [in the hills|along the shore|through the forest]. {He} puts bread in {his} bag and takes the {animal} along. \"Walking is good for thinking,\" says {N}. \"And thinking is good for [everything else|walking].\"",
    # how things are done
    "How do you bake bread? First you take flour, water, salt and a little yeast. You mix them in a bowl and knead the dough until it is [smooth|soft]. Then you cover it with a cloth and wait. The dough [rises|grows], because the yeast makes little bubbles in it. You form a loaf and put it into the hot oven. When the [crust|loaf] is brown and sounds hollow, the bread is ready. {N} the baker says that [waiting|patience] is the most important part.",
    "How does a lighthouse work? At the top of the tower there is a [strong|bright] lamp. Around the lamp there is a lens of glass, which gathers the light into a beam. The lens turns slowly, so that the sailors see a flash, then darkness, then a flash. Each lighthouse has its own rhythm. When the sailors count the [seconds|flashes], they know where they are. {N} the keeper cleans the glass every [day|morning], because [salt|dust] makes it dim.",
    "How does a clock work? A weight or a spring pulls at the wheels. If nothing stopped them, the wheels would run [too fast|down at once]. But the pendulum swings to and fro, and with each swing it lets one tooth go by. Tick, it says, and tock. So the hands move slowly and evenly. {N} the clockmaker says that a clock is [a way to count|patience made of {metal}].",
    "How does a seed grow? In the [dark|warm] earth it drinks water until its skin breaks. First comes the root, which goes down. Then comes the shoot, which goes up to the light. The leaves [catch the sun|drink the light], and the plant grows. After some weeks there are flowers, and the bees come. From the flowers come fruits, and in the fruits there are new seeds. \"It all begins again,\" says {N}, the gardener.",
    "Why is the sea salty? \"Because the rivers wash a little salt out of the [stones|rocks] and carry it to the sea,\" {F} said. \"The water goes up again as clouds, but the salt stays behind.\" {N} thought about that. \"So the rain is [sweet|fresh] because it leaves its salt at home,\" {he} said. \"Yes,\" said {F}, \"[exactly|that is right].\"",
    "Why does the moon change? \"The sun shines on one half of it,\" said {F}. \"Sometimes we see the whole bright side, and sometimes only a [thin|small] piece.\" {N} held up an apple beside the lamp and turned around slowly. \"Now I see it,\" {he} said. \"[The apple has a moon face|Full moon, half moon, new moon].\"",
    # dialogues with a robot
    "\"May I open the [window|door|box|drawer]?\" asked the robot. \"Why do you want to open it?\" asked {N}. \"Because [it is warm in here|I heard a noise|I want to put the {tool} away],\" said the robot. {N} thought for a moment. \"[Yes, you may|Yes, but close it again afterwards],\" {he} said. \"Thank you,\" said the robot, and {ropens} [carefully|slowly].",
    "\"May I [use|take] the {tool}?\" asked the robot. \"No,\" said {N}, \"not [today|now]. It is [broken|too heavy|not mine].\" \"Then I will not touch it,\" said the robot. \"May I ask again tomorrow?\" \"You may always ask,\" said {N}. The robot [nodded|bowed] and went back to [work|its corner].",
    "\"Why do you always ask?\" said {N} to the robot. \"Because I can make mistakes,\" said the robot. \"If I ask, there are two of us to [notice|see] them.\" \"And if I say no?\" \"Then I [stop|do not do it],\" said the robot, \"and I tell you what I [think|know], so that you can [decide|change your mind].\" {N} [liked|was pleased with] this answer.",
    "The robot [stood|waited] in front of the gate. There was a sign: \"No entry without permission.\" The gate was [open|not locked], and nobody was there. \"I could go in,\" said the robot to itself, \"but I may not.\" So it rang the bell and waited. After a while {neighbour} came. \"You waited? The gate was open!\" \"The sign was [clear|easy to read],\" said the robot. \"[Come in, then|Then you are welcome here].\"",
    "\"What did you do today?\" asked {N}. \"I wrote everything down,\" said the robot and showed {him} the book. \"At [nine|eight] o'clock I swept the yard. At ten o'clock I asked whether I may climb the ladder, and you said yes. At noon I broke a cup. I am sorry.\" {N} [smiled|laughed]. \"I had not seen the cup,\" {he} said. \"But it is in the book,\" said the robot, \"because it is true.\"",
    # letters
    "Dear {F},\n\n[thank you|many thanks] for your letter. Here in {T} it is {season}, and {weather}. Yesterday I found {oldthing} [under the {tree}|on the road]. {Neighbour} says hello. When will you visit me? I will bake [a cake|bread], and we can [walk to the sea|sit in the garden].\n\nYour friend,\n{N}",
    "Dear {kin},\n\nI have arrived [safely|well] in {T}. The house is [small|old], but warm. Every morning there is {food}. The people are {virtue}. I have a new friend called {F}, and a {animal} that [sleeps on my bed|follows me]. Please do not worry. I think of you [every evening|when the stars come out].\n\nWith love,\n{N}",
    # fables
    "A {animal} and a {animal2} met at the [well|bridge]. \"I am [stronger|faster],\" said the {animal}. \"I am [cleverer|older],\" said the {animal2}. They [argued|quarrelled] until the sun went down, and neither of them had [crossed the bridge|drunk any water]. Then came a [snail|small ant], went past them and [drank|crossed over]. \"Good night,\" it said. Those who quarrel [go home late|stay thirsty].",
    "A {bird} found a crumb and wanted to eat it alone. But the crumb was [too big|hard], and the {bird} could not break it. \"I will help you,\" said a mouse, \"if you give me half.\" The {bird} thought, and then agreed. Together they broke the crumb, and it was enough for both. \"Half a crumb is better than [none|a whole one that you cannot eat],\" said the mouse.",
    "The wind wanted to open a window. It pushed and [howled|blew], but the window stayed shut. Then a child came and knocked. \"May I come in?\" asked the child. The window was opened from inside. \"How did you do that?\" asked the wind. \"I asked,\" said the child.",
]

ORD = "second|third|fourth|fifth|sixth|seventh|tenth".split("|")


def _he(gender):
    return {"f": ("she", "her", "her", "herself"),
            "m": ("he", "him", "his", "himself"),
            "n": ("it", "it", "its", "itself")}[gender]


class Story:
    """The values of one story, and the expansion of templates with them."""

    def __init__(self, rng, theme_name=None):
        self.r = rng
        v = self.v = {}
        theme = THEMES[theme_name] if theme_name else {}
        key = theme_name or rng.choice(
            sorted(k for k in CAST if k not in ("fox", "robot")))
        cast = rng.choice(CAST[key])
        name, gender, fname, fgender, v["T"] = cast[:5]
        v["N"], v["F"] = name, fname
        v["he"], v["him"], v["his"], v["himself"] = _he(gender)
        v["fhe"], v["fhim"], v["fhis"], v["fhimself"] = _he(fgender)
        season = rng.choice(sorted(SEASONS))
        v["season"] = season
        self.season = SEASONS[season]
        v["shipname"] = v["fkind"] = cast[-1]
        v["kin"] = rng.choice(LEX["kin"])
        v["hiskin"] = rng.choice(["a dear grandmother", "a beloved aunt",
                                  "an old grandfather", "a kind uncle"])
        v["neighbour"] = rng.choice(LEX["neighbour"])
        v["sayshe"] = "the visitor"
        v["Three"] = rng.choice(["Two", "Three", "Four", "Five"])
        v["A"] = ""
        v["number2"] = rng.choice(ORD)
        v["toy2"] = rng.choice(["kite", "little boat", "paper glider"])
        v["Aaboy"] = rng.choice(["A boy", "A girl", "A farmer's child"])
        v["aold"] = rng.choice(["an old soldier", "a thin man", "a young man",
                                "a tall woman", "an old woman"])
        v["ropens"] = "opened it"
        v["bun"] = rng.choice(["bun", "roll"])
        v["spring2"] = rng.choice(["the spring", "next week", "tomorrow"])
        v["animal"] = rng.choice(LEX["animal"])
        v["bird"] = rng.choice(LEX["bird"])
        while True:
            v["animal2"] = rng.choice(LEX["animal"])
            if v["animal2"] != v["animal"]:
                break
        if "role" in theme:
            roles = [x for x in theme["role"]
                     if not (x == "schoolgirl" and gender == "m")]
            v["role"] = rng.choice(roles)
            v["place"] = self.text(rng.choice(theme["place"]))
        self.used = set()

    def value(self, key):
        bind = None
        if ":" in key:
            bind, key = key.split(":")
            if bind in self.v and self.v[bind]:
                return self.v[bind]
        if key in self.v:
            out = self.v[key]
        elif key in LEX:
            out = self.r.choice(LEX[key])
        elif key == "shipkind":
            out = self.r.choice(["a ship", "a big ship", "a fishing boat",
                                 "a ship full of people", "a sailing ship"])
        elif key == "weather":
            out = self.r.choice(self.season["weather"])
        elif key in ("sky",):
            out = self.r.choice(self.season["sky"].split("|")
                                if "[" not in self.season["sky"]
                                else _split(self.season["sky"]))
        elif key == "nature":
            out = self.r.choice(_split(self.season["nature"]))
        elif key == "fvirtue":
            out = self.r.choice(LEX["virtue"])
        elif key[0].isupper() and key != key.lower():
            out = self.text(self.value(key[0].lower() + key[1:]))
            return out[0].upper() + out[1:]
        else:
            raise KeyError(key)
        if bind:
            self.v[bind] = out
        return out

    def text(self, template):
        """Expand one template."""
        s = template
        while True:
            m = re.search(r"\[([^\[\]]*)\]", s)
            if not m:
                break
            s = (s[:m.start()] + self.r.choice(m.group(1).split("|"))
                 + s[m.end():])
        for _ in range(4):
            if "{" not in s:
                break
            s = re.sub(r"\{([A-Za-z0-9:]+)\}",
                       lambda m: self.value(m.group(1)), s)
            while True:
                m = re.search(r"\[([^\[\]]*)\]", s)
                if not m:
                    break
                s = (s[:m.start()] + self.r.choice(m.group(1).split("|"))
                     + s[m.end():])
        return s

    def pick(self, templates):
        """One that was not used in this story, expanded."""
        left = [t for t in templates if t not in self.used] or templates
        t = self.r.choice(left)
        if t:
            self.used.add(t)
        return self.text(t)


def _split(s):
    """Split at the bars that are outside brackets."""
    out, depth, cur = [], 0, ""
    for c in s:
        depth += (c == "[") - (c == "]")
        if c == "|" and not depth:
            out.append(cur)
            cur = ""
        else:
            cur += c
    return out + [cur]


def tidy(s):
    s = re.sub(r" +", " ", s)
    s = re.sub(r" ([,.!?])", r"\1", s)
    s = re.sub(r"\b([Aa]) (?=[aeiouAEIOU])(?!(?:one|use|uni|eu))", r"\1n ", s)
    s = re.sub(r"\b(cherr|dais|lil|popp)ys\b", r"\1ies", s)
    s = re.sub(r"\b(potato|peach|radish)s\b", r"\1es", s)
    # a sentence starts with a capital letter
    s = re.sub(r"(^|[.!?:]\"? |\n)([\"]?)([a-z])",
               lambda m: m.group(0) if (m.group(1).startswith(("!\"", "?\"", ":"))
                                        and not m.group(2))
               else m.group(1) + m.group(2) + m.group(3).upper(), s)
    return s.strip()


def one_story(rng):
    theme_name = rng.choice(sorted(THEMES))
    theme = THEMES[theme_name]
    st = Story(rng, theme_name)
    animal = theme.get("fox")
    opening = FOX_OPEN if animal else ROBOT_OPEN if theme.get("robot") \
        else OPENINGS
    paras, cur = [], []

    def flush():
        if cur:
            paras.append(" ".join(x for x in cur if x))
            cur.clear()

    habits = theme["habits"]
    order = rng.random()
    if order < 0.75:
        cur.append(st.pick(opening))
        for _ in range(rng.choice((0, 1, 1, 2, 2, 3))):
            cur.append(st.pick(habits))
        if rng.random() < 0.6:
            cur.append(st.pick(SETTING))
    else:
        cur.append(st.pick(SETTING))
        cur.append(st.pick(opening))
        for _ in range(rng.choice((0, 1, 2))):
            cur.append(st.pick(habits))
    text = " ".join(cur)
    if not theme.get("robot") and (st.v["F"] not in text or rng.random() < 0.2):
        if st.v["F"] not in text:
            cur.append(st.pick(FRIEND["animal" if animal else "person"])
                       .replace("a %s girl" % "", ""))
    if not animal and rng.random() < 0.35:
        cur.append(st.pick(ASIDES))
    if rng.random() < 0.5:
        flush()
    trouble, tried, idea, solved, result = rng.choice(theme["troubles"])
    # Foxes and robots are often alone when the trouble begins.
    alone = animal or theme.get("robot")
    bridges = [b for b in BRIDGES if "{F}" not in b] if alone else BRIDGES
    cur.append(st.text(trouble))
    if rng.random() < 0.3 and not alone:
        cur.append(st.pick(BRIDGES[:1] + BRIDGES[4:7]))
    cur.append(st.text(tried))
    if rng.random() < 0.5 and not theme.get("robot"):
        cur.append(st.pick(bridges))
    if rng.random() < 0.5:
        flush()
    cur.append(st.text(idea))
    if not alone and "{N}" not in idea and idea.endswith(("\"", "{F}.")):
        cur.append(st.pick(AGREE))
    cur.append(st.text(solved))
    if rng.random() < 0.5:
        flush()
    cur.append(st.text(result))
    if rng.random() < 0.8:
        cur.append(st.pick(ENDINGS))
    flush()
    if rng.random() < 0.12:
        paras.append("The end.")
    sep = "\n\n" if rng.random() < 0.6 else " "
    return tidy(sep.join(paras))


def ordinary_day(rng):
    """A chain of small scenes."""
    st = Story(rng)
    parts = [st.pick(DAY_OPEN)]
    if st.v["he"] == "he":
        parts[0] = parts[0].replace(" girl ", " boy ").replace(" woman ",
                                                               " man ")
    for _ in range(rng.choice((1, 2, 2, 3, 3, 4))):
        # other neighbours and animals in each scene
        st.v["neighbour"] = rng.choice(LEX["neighbour"])
        if rng.random() < 0.3:
            parts.append(st.pick(ASIDES))
        parts.append(st.pick(SCENES))
    if rng.random() < 0.8:
        parts.append(st.pick(ENDINGS))
    return tidy(("\n\n" if rng.random() < 0.4 else " ").join(parts))


def stories(seed, size):
    rng = random.Random(seed)
    out, seen, total = [], set(), 0
    while total < size:
        kind = rng.random()
        if kind < 0.08:
            s = tidy(Story(rng).text(rng.choice(OTHER)))
        elif kind < 0.36:
            s = ordinary_day(rng)
        else:
            s = one_story(rng)
        if s in seen:
            continue
        seen.add(s)
        out.append(s)
        total += len(s) + 1
    return out


if __name__ == "__main__":
    import sys
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for s in stories(int(sys.argv[2]) if len(sys.argv) > 2 else 1, 10**6)[:n]:
        print(s)
        print("=" * 20)
