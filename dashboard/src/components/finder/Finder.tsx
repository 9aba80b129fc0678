import { useEffect, useEffectEvent, useId, useRef, useState } from "react";

import { Modal } from "@/components/dialogs/Modal";
import { Failure } from "@/components/page/Notice";

import { activeCommand, type Command } from "./commands";

interface FinderProps {
  title: string;
  /** The name of the field. It says what can be found. */
  label: string;
  typed: string;
  onType: (typed: string) => void;
  found: readonly Command[];
  /** Whether the search is still running. */
  isLooking: boolean;
  /** Why the search failed. */
  failure: Error | null;
  /** Shown if nothing is found. */
  nothing?: string | undefined;
  onClose: () => void;
}

/** A combobox with a list (WAI-ARIA). The focus stays in the field, and the arrow keys move through the list. */
export function Finder(props: FinderProps) {
  const { title, label, typed, onType, found, isLooking, failure, nothing = "Nothing matches.", onClose } = props;
  const [chosen, setChosen] = useState<string | null>(null);
  const isEntered = useRef(false); // whether Enter was pressed before anything was found
  const list = useId();
  const index = activeCommand(found, chosen);
  const active = found[index];
  const optionId = (command: Command) => `${list}-${command.id}`;
  const choose = (command: Command) => {
    onClose();
    command.run();
  };
  const move = (by: number) => {
    const from = index < 0 && by < 0 ? 0 : index; // with nothing chosen, the arrows lead to the last and the first line
    setChosen(found[(from + by + found.length) % found.length]?.id ?? null);
  };
  const enter = () => (active ? choose(active) : (isEntered.current = isLooking));
  const press = (event: React.KeyboardEvent) => {
    const act = { ArrowDown: () => move(1), ArrowUp: () => move(-1), Enter: enter }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  };
  const settle = useEffectEvent(() => {
    if (isEntered.current && active) choose(active);
    isEntered.current = false;
  });
  useEffect(() => {
    if (!isLooking) settle();
  }, [isLooking]);
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
          setChosen(null);
          isEntered.current = false;
        }}
        onKeyDown={press}
      />
      <ul id={list} role="listbox" aria-label="Found" className="mt-2 grid max-h-[60dvh] grid-cols-[minmax(0,1fr)] overflow-y-auto">
        {found.map((command) => (
          <Option key={command.id} id={optionId(command)} command={command} active={command === active} onChoose={choose} />
        ))}
      </ul>
      <p role="status" className={!isLooking && (found.length || failure) ? "sr-only" : "py-3 text-center text-muted"}>
        {isLooking ? "Looking…" : found.length ? `${found.length} found` : !failure && nothing}
      </p>
      {failure && <Failure error={failure} />}
    </Modal>
  );
}

interface OptionProps {
  id: string;
  command: Command;
  active: boolean;
  onChoose: (command: Command) => void;
}

function Option({ id, command, active, onChoose }: OptionProps) {
  const option = useRef<HTMLLIElement>(null);
  useEffect(() => {
    if (active) option.current?.scrollIntoView({ block: "nearest" });
  }, [active]);
  return (
    // eslint-disable-next-line jsx-a11y/click-events-have-key-events -- the field handles the keys
    <li
      ref={option}
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
