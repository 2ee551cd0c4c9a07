# libmneme_mpi.so, what carries messages between the processes of mpirun and srun: a plug-in that the program opens
# when it was started by one of them. Neither the program nor libmneme links to MPI. Without an MPI it is left out,
# and said so.
set(MNEME_MPI AUTO CACHE STRING "Build the MPI plug-in: ON, OFF, or AUTO when there is an MPI")

set(MNEME_HAS_MPI FALSE)
if(NOT MNEME_MPI)
    message(STATUS "MPI: switched off")
    return()
endif()
find_package(MPI 3.0 QUIET COMPONENTS C)
if(NOT MPI_C_FOUND)
    if(MNEME_MPI STREQUAL "ON")
        message(FATAL_ERROR "MNEME_MPI is ON, but there is no MPI 3 for C (Debian: libopenmpi-dev); "
                            "MPI_HOME says where to look")
    endif()
    message(STATUS "MPI: left out, no MPI 3 for C (Debian: libopenmpi-dev)")
    return()
endif()
set(MNEME_HAS_MPI TRUE)
message(STATUS "MPI: ${MPI_C_LIBRARIES}")

file(GLOB mpi_sources CONFIGURE_DEPENDS host/mpi/*.c)
add_library(mneme_mpi MODULE ${mpi_sources})
set_target_properties(mneme_mpi PROPERTIES C_VISIBILITY_PRESET hidden
                                           LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
target_include_directories(mneme_mpi PRIVATE include host)
target_link_libraries(mneme_mpi PRIVATE MPI::MPI_C Threads::Threads)
install(TARGETS mneme_mpi LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
