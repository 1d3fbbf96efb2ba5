"""Work that no request waits for; each job can be stopped.

large_work     the thread for requests of many megabytes
memory         free memory goes back to the system
loop_witness   how long the event loop was held, and by what
tasks          the only place where such work begins, so that somebody waits for it
calibration    what the upstream's token counts teach, model by model
learned_forms  which form of what we add an upstream takes
shared_forms   the same, kept in the store and shared by its processes
known_windows  which credential was told what of a model's context window
model_windows  what is known of each model's context window
target_addresses  the members of targets whose name has several addresses
target_health  which members of targets are out, and whether they are well again
slot_engine    what is known of an engine whose slots are saved
slot_table     which slots of engines are saved, kept in the store
slot_files     saving the slots of chats, and bringing them back
summary_jobs   which summaries are being made, and which failed
summaries      having a model summarize the turns that were dropped
retention      deleting what is kept no longer, now and then
search_index   putting what was said into the index
kept_requests  requests as their clients sent them, put into the store
old_responses  what is kept of responses in the background, deleted a while after their end
shared_metrics histograms, written where other workers see them
store_room     how much room the store's file takes, and how much is left
"""
