"""Fetch: from a PASS to the events that it adds up, and from spikes back to memory.

    PASS, SOURCE -> raster -> runs -> word reader -> entries -> event encoder -> events
                                      |        ^
                                      address  word
                                      v        |
                                     spike memory  <-  place  <-  spike writer

A run is one source at one site. An entry is a word with spikes. An event is one spike.

| file            | what it is                                                    |
|-----------------|---------------------------------------------------------------|
| `geometry`      | what a pass reads and when outputs leave, in plain integers   |
| `raster`        | runs: every source at every site                              |
| `word_reader`   | entries: the words of a run that hold a spike                 |
| `event_encoder` | events: the set bits of a word, one a cycle                   |
| `spike_memory`  | spike maps, and bit planes of pixels, between the layers      |
| `spike_writer`  | the place of every tile of spikes that comes out of the array |
"""
