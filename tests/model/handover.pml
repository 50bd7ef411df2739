/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The handover of docs/formats/migration.md as a model for spin: what each side does from stop on, in the states of that page.
 *
 * ARBITER   1: there is a disk beside which the two can decide; 0: there is none, and no locks either
 * FAULTS    how many losses there may be: either process, the connection, the arbiter's storage as one side sees it
 * OPERATOR  1: somebody settles what waits unsettled (x-ferry-migrate-settle): with an arbiter carelessly, as the arbiter is to
 *           catch that; without one, or where the source ran on and could not reach it, knowing what the VMs' states are;
 *           2: the daemons of both hosts settle it, where there is no arbiter
 * WITHOUT   takes a rule away, to show that the rule is needed and the model would see it:
 *           1 the destination asks the arbiter; 2 the decision outlives who made it (a lock does not); 3 a source that runs on
 *           after it sent its state decides that; 4 the source waits for an answer to COMMIT; 5 a destination's daemon says that the
 *           guest is not there only when its VM has promised never to take it
 *
 * Checked at every step: never two running; nobody runs what the other side has run since the copy was made. Checked when nothing
 * moves any more, with one loss at most: somebody runs, or the one who had the guest is the one who was lost, or (where there is no
 * arbiter, or it can't be reached) who has it waits unsettled. */
#ifndef ARBITER
#define ARBITER 1
#endif
#ifndef FAULTS
#define FAULTS 1
#endif
#ifndef OPERATOR
#define OPERATOR 0
#endif
#ifndef WITHOUT
#define WITHOUT 0
#endif

mtype = { NOBODY, SOURCE, DESTINATION };                 /* owners of locks, decisions and guests */
mtype = { STATE, READY, COMMIT, CANCEL, REFUSE, TAKEN }; /* messages */
mtype = { ACTIVE, RUNS, UNSETTLED, GONE, DEAD };         /* how far a side is */

chan forth = [3] of { mtype };
chan back = [3] of { mtype };
bool broken;                                  /* the connection */
bool source_closed, destination_closed;       /* its ends, also by death */
bool source_reaches = true, destination_reaches = true; /* the arbiter */
mtype lock = SOURCE, decision = NOBODY, guest = SOURCE;
mtype source = RUNS, destination = ACTIVE;
bool source_runs = true, destination_runs;
bool source_ran_on, destination_ran;          /* since the copy was made */
bool kill_source, kill_destination, settle_source, settle_destination, discard_destination, settled_by_hand;
bool discard_source, abandon;                 /* the daemons say: it is there; it is never to run there */
byte faults = FAULTS;

/* A message to an end that is not there is lost; so may be the rest of what is under way when an end goes or the line breaks,
 * but never something out of the middle: who reads finds the end at any point. */
#define send_forth(m) if :: broken || destination_closed :: else -> forth!m fi
#define send_back(m)  if :: broken || source_closed :: else -> back!m fi
#define lost_for_source (broken || destination_closed)
#define lost_for_destination (broken || source_closed)

inline source_starts()
{
    atomic {
        source_runs = true;
        source_ran_on = true;
        source = RUNS;
        assert(!destination_runs);
        assert(!destination_ran);
    }
}

inline source_is_gone()
{
    source_closed = true;
    source = GONE
}

inline source_takes_disks_and_starts()
{
    if
    :: !ARBITER -> source_starts()
    :: atomic { ARBITER && (lock == NOBODY || lock == SOURCE) -> lock = SOURCE }; source_starts()
    :: ARBITER && lock == DESTINATION && !won -> source = UNSETTLED
    fi
}

/* Back to running, before COMMIT or after the destination's REFUSE. The decision keeps a copy that waits on the other side from ever
 * running: this guest goes on, and may die later. And somebody may have settled there that the guest is the destination's. */
inline source_runs_on()
{
    source_closed = true;
    if
    :: ARBITER && WITHOUT != 3 && source_reaches ->
        atomic { if :: decision == NOBODY -> decision = SOURCE :: else fi; won = (decision == SOURCE) };
        if :: won -> source_takes_disks_and_starts() :: else -> source = GONE fi
    :: else -> won = false; source_takes_disks_and_starts()
    fi
}

inline source_asks_arbiter()
{
    source_closed = true;
    if
    :: !ARBITER || !source_reaches -> source = UNSETTLED
    :: ARBITER && source_reaches && WITHOUT == 2 ->
        /* the lock as arbiter: whoever gets it runs */
        atomic { if :: lock == NOBODY -> lock = SOURCE :: else fi };
        if :: lock == SOURCE -> source_starts() :: else -> source = GONE fi
    :: ARBITER && source_reaches && WITHOUT != 2 ->
        atomic { if :: decision == NOBODY -> decision = SOURCE :: else fi; won = (decision == SOURCE) };
        if :: won -> source_takes_disks_and_starts() :: else -> source = GONE fi
    fi
}

active proctype Source()
{
    bool won;
    {
        atomic { source_runs = false; source = ACTIVE };
        send_forth(STATE);
        /* STOPPED */
        if
        :: back?READY -> skip
        :: back?REFUSE -> source_runs_on(); goto settled
        :: lost_for_source -> source_runs_on(); goto settled
        :: send_forth(CANCEL); source_runs_on(); goto settled /* by an operator, or no READY in time */
        fi;
        /* RELEASED */
        if :: ARBITER -> lock = NOBODY :: else fi;
        if
        :: lost_for_source -> source_runs_on(); goto settled /* the kernel did not take one byte */
        :: send_forth(COMMIT)
        fi;
        if :: WITHOUT == 4 -> source_is_gone(); goto settled :: else fi;
        /* DOUBT */
        if
        :: back?TAKEN -> decision = NOBODY; source_is_gone()
        :: back?REFUSE -> source_runs_on()
        :: source_asks_arbiter() /* the connection is lost, or no answer came in time */
        fi;
    settled:
    end_settled:
        do
        :: source == UNSETTLED && settle_source ->
            settle_source = false;
            if
            :: ARBITER && source_reaches -> source_asks_arbiter()
            :: ARBITER && !source_reaches -> skip /* refused */
            :: !ARBITER -> source_starts()
            fi
        :: source == UNSETTLED && discard_source -> source_is_gone()
        od
    } unless {
        kill_source -> atomic {
            source_runs = false;
            source_closed = true;
            source = DEAD;
            if :: lock == SOURCE -> lock = NOBODY :: else fi
        }
    }
}

inline destination_ends()
{
    if :: lock == DESTINATION -> lock = NOBODY :: else fi;
    destination_closed = true;
    destination = GONE
}

/* Takes the disks and decides. May give up on the disks. */
inline destination_takes()
{
    if
    :: !ARBITER -> guest = DESTINATION; taken = true
    :: ARBITER ->
        if
        :: atomic { lock == NOBODY -> lock = DESTINATION };
            if
            :: !destination_reaches -> taken = false
            :: destination_reaches && (WITHOUT == 1 || WITHOUT == 2) -> guest = DESTINATION; taken = true
            :: destination_reaches && WITHOUT != 1 && WITHOUT != 2 ->
                atomic {
                    if :: decision == NOBODY -> decision = DESTINATION :: else fi;
                    taken = (decision == DESTINATION);
                    lost = !taken;
                    if :: taken -> guest = DESTINATION :: else fi
                }
            fi
        :: lock == SOURCE -> taken = false
        fi;
        if :: !taken && lock == DESTINATION -> lock = NOBODY :: else fi
    fi
}

inline destination_starts()
{
    atomic {
        assert(!source_runs);
        assert(!source_ran_on);
        destination_runs = true;
        destination_ran = true;
        destination = RUNS
    }
}

active proctype Destination()
{
    bool taken, lost;
    {
        /* WAITS */
        if
        :: forth?STATE ->
            if
            :: skip
            :: send_back(REFUSE); destination_ends(); goto settled /* what came can't be loaded */
            fi
        :: forth?CANCEL -> destination_ends(); goto settled
        :: lost_for_destination -> destination_ends(); goto settled
        fi;
        /* LOADED */
        send_back(READY);
        /* READY */
        if
        :: forth?CANCEL -> destination_ends(); goto settled
        :: abandon -> destination_ends(); goto settled
        :: forth?COMMIT ->
            if
            :: abandon -> send_back(REFUSE); destination_ends(); goto settled
            :: else -> destination_takes() /* asked from now on, it waits until it knows */
            fi;
            if
            :: taken -> send_back(TAKEN); destination_starts()
            :: else -> send_back(REFUSE); destination_ends()
            fi;
            goto settled
        :: lost_for_destination -> destination_closed = true; destination = UNSETTLED
        fi;
    settled:
    end_settled:
        do
        :: destination == UNSETTLED && settle_destination ->
            settle_destination = false;
            destination_takes();
            if
            :: taken -> destination_starts()
            :: !taken && lost -> decision = NOBODY; destination_ends() /* the copy will never run */
            :: else /* refused: perhaps later */
            fi
        :: destination == UNSETTLED && abandon -> destination_ends()
        :: destination == UNSETTLED && discard_destination -> decision = NOBODY; destination_ends()
        od
    } unless {
        kill_destination -> atomic {
            destination_runs = false;
            destination_closed = true;
            destination = DEAD;
            if :: lock == DESTINATION -> lock = NOBODY :: else fi
        }
    }
}

active proctype Losses()
{
    do
    :: atomic { faults > 0 && !broken -> broken = true; faults-- }
    :: atomic { faults > 0 && source != DEAD && !kill_source -> kill_source = true; faults-- }
    :: atomic { faults > 0 && destination != DEAD && !kill_destination -> kill_destination = true; faults-- }
    :: atomic { faults > 0 && ARBITER && source_reaches && !settled_by_hand -> source_reaches = false; faults-- }
    :: atomic { faults > 0 && ARBITER && destination_reaches -> destination_reaches = false; faults-- }
    :: break
    od
}

#define source_settled (source == RUNS || source == UNSETTLED || source == GONE || source == DEAD)
#define destination_settled (destination == RUNS || destination == UNSETTLED || destination == GONE || destination == DEAD)

/* Without an arbiter it looks at both sides first, and reads in the source's log whether it ran on. */
active proctype Operator()
{
    do
    :: atomic { OPERATOR == 1 && source == UNSETTLED && !settle_source &&
       (ARBITER || (destination_settled && !destination_runs && !destination_ran)) -> settle_source = true }; break
    :: atomic { OPERATOR == 1 && destination == UNSETTLED && !settle_destination &&
       ((ARBITER && source_reaches) || (source_settled && !source_runs && !source_ran_on && source != UNSETTLED)) -> settle_destination = true; settled_by_hand = true }; break
    :: atomic { OPERATOR == 1 && destination == UNSETTLED && !settle_destination -> discard_destination = true }; break
    :: break
    od
}

/* When the source waits, its daemon asks the destination's, which has its VM promise that it never takes the guest; or it has. Of a VM
 * that has died nothing is known. */
active proctype Daemons()
{
end_idle:
    if
    :: OPERATOR == 2 && !ARBITER && source == UNSETTLED -> abandon = true
    fi;
end_asking:
    if
    :: atomic { destination == GONE || (WITHOUT == 5 && destination != RUNS && destination != DEAD) -> settle_source = true }
    :: atomic { destination == RUNS -> discard_source = true }
    fi
}

active proctype Judge()
{
    timeout ->
    assert(!(source_runs && destination_runs));
    if
    :: FAULTS <= 1 ->
        assert(source_runs || destination_runs ||
               (guest == SOURCE && source == DEAD) || (guest == DESTINATION && destination == DEAD) ||
               ((!ARBITER || !source_reaches) && source == UNSETTLED && (OPERATOR != 2 || destination == DEAD)))
    :: else
    fi
}
