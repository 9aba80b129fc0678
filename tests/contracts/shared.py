"""A contract that keeps a package for what several programs share."""

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class SharedContract(Contract):
    """Each module of `package` serves at least two of `programs`, directly or through other modules of it.

    `exceptions` lists the modules that fewer programs use. An exception that two programs use is wrong too.
    """

    package = fields.StringField()
    programs = fields.ListField(subfield=fields.StringField())
    exceptions = fields.SetField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002
        """Return the modules that have too few users, and the exceptions that are none."""
        modules = {
            m for m in graph.modules if m.startswith(f"{self.package}.") and not graph.find_children(m)
        }
        lonely = {module for module in modules if len(self._users(graph, module)) < 2}
        listed = set(self.exceptions or ())
        found = {"too few users": sorted(lonely - listed), "no exceptions": sorted(listed - lonely)}
        return ContractCheck(kept=lonely == listed, metadata=found)

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print each module with what is wrong with it."""
        for problem, modules in check.metadata.items():
            for module in modules:
                output.print_error(f"{module}: {problem}")

    def _users(self, graph: ImportGraph, module: str) -> set[str]:
        """Return the programs that import the module, directly or through the package."""
        found, waiting, seen = set(), [module], {module}
        while waiting:
            for importer in graph.find_modules_that_directly_import(waiting.pop()) - seen:
                seen.add(importer)
                program = importer.partition(".")[0]
                if program == self.package:
                    waiting.append(importer)
                else:
                    found.add(program)
        return found & set(self.programs)
