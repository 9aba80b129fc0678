import { useId, useState } from "react";

import type { Command } from "@/lib/commands";
import { Modal } from "@/parts/Modal";

interface FinderProps {
  title: string;
  /** What can be found. */
  label: string;
  typed: string;
  onType: (typed: string) => void;
  found: readonly Command[];
  /** Whether more may be found yet. */
  looking: boolean;
  onClose: () => void;
}

/** A combobox with a list (WAI-ARIA): the focus stays in the field, arrows move through what is found. */
export function Finder({ title, label, typed, onType, found, looking, onClose }: FinderProps) {
  const [place, setPlace] = useState(0);
  const list = useId();
  const active = found[Math.min(place, found.length - 1)];
  const optionId = (command: Command) => `${list}-${command.id}`;
  const choose = (command: Command) => {
    onClose();
    command.run();
  };
  const move = (by: number) => setPlace((Math.min(place, found.length - 1) + by + found.length) % Math.max(1, found.length));
  const press = (event: React.KeyboardEvent) => {
    const act = { ArrowDown: () => move(1), ArrowUp: () => move(-1), Enter: () => active && choose(active) }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  };
  return (
    <Modal title={title} onClose={onClose}>
      <input
        role="combobox"
        aria-label={label}
        aria-expanded={found.length > 0}
        aria-controls={list}
        aria-autocomplete="list"
        aria-activedescendant={active && optionId(active)}
        placeholder={label}
        autoComplete="off"
        spellCheck={false}
        className="field w-full"
        value={typed}
        onChange={(event) => {
          onType(event.target.value);
          setPlace(0);
        }}
        onKeyDown={press}
      />
      <ul id={list} role="listbox" aria-label="Found" className="mt-2 grid grid-cols-[minmax(0,1fr)]">
        {found.map((command) => (
          <Option key={command.id} id={optionId(command)} command={command} active={command === active} onChoose={choose} />
        ))}
      </ul>
      <p role="status" className={found.length ? "sr-only" : "py-3 text-center text-muted"}>
        {wordsOn(found.length, looking)}
      </p>
    </Modal>
  );
}

function wordsOn(count: number, looking: boolean): string {
  if (count) return `${count} found`;
  return looking ? "Looking…" : "Nothing is called like that.";
}

interface OptionProps {
  id: string;
  command: Command;
  active: boolean;
  onChoose: (command: Command) => void;
}

function Option({ id, command, active, onChoose }: OptionProps) {
  return (
    // eslint-disable-next-line jsx-a11y/click-events-have-key-events -- its keys are the field's
    <li
      id={id}
      role="option"
      aria-selected={active}
      tabIndex={-1}
      className={`flex cursor-pointer items-baseline justify-between gap-3 rounded px-2 py-1.5 ${active ? "bg-tint" : "hover:bg-sunken"}`}
      onClick={() => onChoose(command)}
    >
      <span className="min-w-0 truncate">{command.label}</span>
      <span className="fact shrink-0 max-w-40 truncate">{command.hint}</span>
    </li>
  );
}
