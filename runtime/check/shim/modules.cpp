// Owns the analysis of modules that require one another: sources and the targets of `require` come from the caller, so
// nothing here touches a file. Leaves the analysis itself to Luau.
#include "Luau/Ast.h"
#include "Luau/BuiltinDefinitions.h"
#include "Luau/Common.h"
#include "Luau/Config.h"
#include "Luau/ConfigResolver.h"
#include "Luau/Error.h"
#include "Luau/FileResolver.h"
#include "Luau/Frontend.h"

#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

namespace
{

struct Modules : Luau::FileResolver
{
    std::unordered_map<std::string, std::string> sources;
    // "module\npath" to the module that the path means there.
    std::unordered_map<std::string, std::string> targets;

    std::optional<Luau::SourceCode> readSource(const Luau::ModuleName& name) override
    {
        auto found = sources.find(name);
        if (found == sources.end())
            return std::nullopt;
        return Luau::SourceCode{found->second, Luau::SourceCode::Module};
    }

    std::optional<Luau::ModuleInfo> resolveModule(
        const Luau::ModuleInfo* context, Luau::AstExpr* expr, const Luau::TypeCheckLimits&) override
    {
        const auto* path = expr->as<Luau::AstExprConstantString>();
        if (!path || !context)
            return std::nullopt;
        auto found = targets.find(context->name + "\n" + std::string(path->value.data, path->value.size));
        if (found == targets.end())
            return std::nullopt;
        return Luau::ModuleInfo{found->second};
    }

    std::string getHumanReadableModuleName(const Luau::ModuleName& name) const override
    {
        return name;
    }
};

struct Strict : Luau::ConfigResolver
{
    Luau::Config config;

    Strict()
    {
        config.mode = Luau::Mode::Strict;
        config.enabledLint.warningMask = ~0ull;
        // Ours are built-in functions of the language to every script, shadowed and redefined at will.
        config.enabledLint.disableWarning(Luau::LintWarning::Code_BuiltinGlobalWrite);
    }

    const Luau::Config& getConfig(const Luau::ModuleName&, const Luau::TypeCheckLimits&) const override
    {
        return config;
    }
};

// Calls `report` with each error message of the analysis.
using Report = void (*)(
    void* context, const char* module, uint32_t line, uint32_t column, uint32_t is_warning, const char* message, size_t length);

} // namespace

extern "C"
{

struct mcrun_checker
{
    Modules modules;
    Strict strict;
    std::unique_ptr<Luau::Frontend> frontend;
};

mcrun_checker* mcrun_checker_new()
{
    try
    {
        // The fixes of Luau's own analyzer, which are off in a library.
        for (Luau::FValue<bool>* flag = Luau::FValue<bool>::list; flag; flag = flag->next)
            if (std::strncmp(flag->name, "Luau", 4) == 0)
                flag->value = true;
        auto checker = std::make_unique<mcrun_checker>();
        Luau::FrontendOptions options;
        options.runLintChecks = true;
        checker->frontend = std::make_unique<Luau::Frontend>(&checker->modules, &checker->strict, options);
        checker->frontend->setLuauSolverMode(Luau::SolverMode::New);
        Luau::unfreeze(checker->frontend->globals.globalTypes);
        Luau::registerBuiltinGlobals(*checker->frontend, checker->frontend->globals);
        Luau::freeze(checker->frontend->globals.globalTypes);
        return checker.release();
    }
    catch (...)
    {
        return nullptr;
    }
}

void mcrun_checker_free(mcrun_checker* checker)
{
    delete checker;
}

void mcrun_checker_source(mcrun_checker* checker, const char* name, size_t name_length, const char* text, size_t text_length)
{
    checker->modules.sources[std::string(name, name_length)] = std::string(text, text_length);
}

void mcrun_checker_target(mcrun_checker* checker, const char* key, size_t key_length, const char* name, size_t name_length)
{
    checker->modules.targets[std::string(key, key_length)] = std::string(name, name_length);
}

// What was found out about a module no longer holds, nor about those that require it.
void mcrun_checker_dirty(mcrun_checker* checker, const char* name, size_t length)
{
    checker->frontend->markDirty(std::string(name, length));
}

// Forgets every module; the types of the globals stay.
void mcrun_checker_clear(mcrun_checker* checker)
{
    checker->frontend->clear();
    checker->modules.sources.clear();
    checker->modules.targets.clear();
}

static void say(Report report, void* context, const std::string& module, const Luau::Location& location, bool warning, const std::string& message)
{
    report(context, module.c_str(), location.begin.line + 1, location.begin.column + 1, warning ? 1 : 0, message.data(), message.size());
}

// Loads the types of the globals. Mistakes in them are reported under the module "definitions".
void mcrun_checker_define(mcrun_checker* checker, const char* text, size_t length, Report report, void* context)
{
    const std::string name = "definitions";
    try
    {
        auto& globals = checker->frontend->globals;
        Luau::unfreeze(globals.globalTypes);
        auto loaded = checker->frontend->loadDefinitionFile(globals, globals.globalScope, std::string(text, length), name, false, false);
        Luau::freeze(globals.globalTypes);
        for (const auto& error : loaded.parseResult.errors)
            say(report, context, name, error.getLocation(), false, error.getMessage());
        if (loaded.module)
            for (const auto& error : loaded.module->errors)
                say(report, context, name, error.location, false, Luau::toString(error));
    }
    catch (const std::exception& error)
    {
        say(report, context, name, Luau::Location{}, false, error.what());
    }
}

void mcrun_checker_check(mcrun_checker* checker, const char* name, size_t length, double seconds, Report report, void* context)
{
    const std::string module(name, length);
    try
    {
        Luau::FrontendOptions options;
        options.runLintChecks = true;
        options.moduleTimeLimitSec = seconds;
        Luau::CheckResult result = checker->frontend->check(module, options);
        for (const auto& error : result.errors)
            if (error.moduleName == module || error.moduleName.empty())
                say(report, context, module, error.location, false, Luau::toString(error));
        for (const auto& error : result.lintResult.errors)
            say(report, context, module, error.location, false, error.text);
        for (const auto& warning : result.lintResult.warnings)
            say(report, context, module, warning.location, true, warning.text);
        for (const auto& late : result.timeoutHits)
            say(report, context, module, Luau::Location{}, false, "the check of `" + late + "` takes too long");
    }
    catch (const std::exception& error)
    {
        say(report, context, module, Luau::Location{}, false, error.what());
    }
}
}
