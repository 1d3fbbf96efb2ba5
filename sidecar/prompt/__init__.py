"""What fits into a context window. Pure: no I/O in this package.

model_lists        what the upstreams' lists of models say of each model's window
weights            how many tokens a prompt has, by estimate
calibration        what an upstream's counts teach of that estimate
silent_truncation  did an upstream cut a prompt without saying so?
rebuild            the messages that go upstream: stored ones where they say more, then the new
form               in which form goes what we add: what an upstream demands back, what it refuses
supply             what is demanded, put in from what is stored
plain              the same in fewer fields, or as plain text
compact            what is left of old tool results, images and reasoning before turns are dropped
places             where a line of messages may be cut
trim               which turns fit the budget
summary            what stands for the turns that were dropped
fit                a prompt fitted to its budget, by weights that stay until the cut moves
summary_question   what the model that summarizes is asked
"""
